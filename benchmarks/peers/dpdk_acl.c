/* DPDK's librte_acl behind five plain functions, for benchmarks.
 *
 * Keys are prepared outside of what is timed: 16 bytes each, fields in network order, the protocol first, as
 * the library wants it (its programmer's guide, "Packet Classification and Access Control"). Earlier rules have
 * higher priorities, so that the answer is the first match; a result is its number + 1, 0 for none.
 */
#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct key {
	uint8_t protocol, pad[3];
	uint32_t src, dst;
	uint16_t sport, dport;
};

enum { FIELDS = 5, CALL = 256 };

RTE_ACL_RULE_DEF(five, FIELDS);

static const struct rte_acl_field_def fields[FIELDS] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, 0, offsetof(struct key, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 1, 1, offsetof(struct key, src) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, 2, 2, offsetof(struct key, dst) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 3, 3, offsetof(struct key, sport) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, 4, 3, offsetof(struct key, dport) },
};

int dpdk_init(const char *megabytes)
{
	char *arguments[] = { "netsim", "--no-huge", "-m", (char *)megabytes, "--no-pci", "--no-telemetry", "--no-shconf",
		"--file-prefix=netsim", "-l", "0", "--log-level=lib.eal:error", "--log-level=lib.acl:error",
		"--force-max-simd-bitwidth=512" };
	return rte_eal_init(sizeof(arguments) / sizeof(*arguments), arguments);
}

static size_t taken(void)
{
	struct rte_malloc_socket_stats stats;
	return rte_malloc_get_socket_stats(0, &stats) ? 0 : stats.heap_allocsz_bytes;
}

/* Lengths of prefixes and inclusive ranges; protocol mask 0 or 255. NULL and a message in `error` if it cannot. */
void *dpdk_build(const char *name, int count, const uint32_t *src, const uint8_t *src_length, const uint32_t *dst,
		 const uint8_t *dst_length, const uint16_t *sport, const uint16_t *sport_end, const uint16_t *dport,
		 const uint16_t *dport_end, const uint8_t *protocol, const uint8_t *mask, size_t *bytes, char *error)
{
	struct rte_acl_param parameters = { .name = name, .socket_id = SOCKET_ID_ANY,
		.rule_size = RTE_ACL_RULE_SZ(FIELDS), .max_rule_num = count };
	struct rte_acl_config config;
	size_t before = taken();
	struct rte_acl_ctx *context = rte_acl_create(&parameters);
	int code;

	if (context == NULL) {
		snprintf(error, 200, "rte_acl_create: %s", rte_strerror(rte_errno));
		return NULL;
	}
	for (int i = 0; i < count; i++) {
		struct five rule;
		memset(&rule, 0, sizeof(rule));
		rule.data.category_mask = 1;
		rule.data.priority = RTE_ACL_MAX_PRIORITY - i;
		rule.data.userdata = i + 1;
		rule.field[0].value.u8 = protocol[i];
		rule.field[0].mask_range.u8 = mask[i];
		rule.field[1].value.u32 = src[i];
		rule.field[1].mask_range.u32 = src_length[i];
		rule.field[2].value.u32 = dst[i];
		rule.field[2].mask_range.u32 = dst_length[i];
		rule.field[3].value.u16 = sport[i];
		rule.field[3].mask_range.u16 = sport_end[i];
		rule.field[4].value.u16 = dport[i];
		rule.field[4].mask_range.u16 = dport_end[i];
		if ((code = rte_acl_add_rules(context, (struct rte_acl_rule *)&rule, 1))) {
			snprintf(error, 200, "rte_acl_add_rules: rule %d: %s", i, rte_strerror(-code));
			rte_acl_free(context);
			return NULL;
		}
	}
	memset(&config, 0, sizeof(config));
	config.num_categories = 1;
	config.num_fields = FIELDS;
	memcpy(config.defs, fields, sizeof(fields));
	if ((code = rte_acl_build(context, &config))) {
		snprintf(error, 200, "rte_acl_build: %s", rte_strerror(-code));
		rte_acl_free(context);
		return NULL;
	}
	*bytes = taken() - before;
	return context;
}

/* Whether the library runs this algorithm here. */
int dpdk_supports(void *context, int algorithm)
{
	return rte_acl_set_ctx_classify(context, algorithm) == 0;
}

void dpdk_keys(int count, const uint32_t *src, const uint32_t *dst, const uint16_t *sport, const uint16_t *dport,
	       const uint8_t *protocol, struct key *keys, const uint8_t **pointers)
{
	for (int i = 0; i < count; i++) {
		keys[i] = (struct key){ protocol[i], { 0 }, htonl(src[i]), htonl(dst[i]), htons(sport[i]), htons(dport[i]) };
		pointers[i] = (const uint8_t *)&keys[i];
	}
}

int dpdk_classify(void *context, int algorithm, int count, const uint8_t **pointers, uint32_t *results)
{
	for (int i = 0; i < count; i += CALL) {
		int code = rte_acl_classify_alg(context, pointers + i, results + i, count - i < CALL ? count - i : CALL, 1,
						algorithm);
		if (code)
			return code;
	}
	return 0;
}

void dpdk_free(void *context)
{
	rte_acl_free(context);
}
