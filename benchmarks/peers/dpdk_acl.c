/* DPDK's librte_acl behind a few plain functions, for benchmarks.
 *
 * Keys are prepared outside of what is timed: fields in network order, the protocol first and padded to four bytes,
 * then addresses, both ports in one word, and flags where rules test them, as the library wants it (its programmer's
 * guide, "Packet Classification and Access Control"). Earlier rules have higher priorities, so that the answer
 * is the first match; a result is its number + 1, 0 for none.
 */
#include <rte_acl.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_version.h>
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 12, CALL = 256 };

RTE_ACL_RULE_DEF(rule, MOST);

struct list {
	struct rte_acl_ctx *context;
	size_t bytes;
	int words, flags; /* words of an address; whether there are flags */
};

int dpdk_init(const char *megabytes)
{
	char *arguments[] = { "netsim", "--no-huge", "-m", (char *)megabytes, "--no-pci", "--no-telemetry", "--no-shconf",
		"--file-prefix=netsim", "-l", "0", "--log-level=lib.eal:error", "--log-level=lib.acl:error",
		"--force-max-simd-bitwidth=512" };
	return rte_eal_init(sizeof(arguments) / sizeof(*arguments), arguments);
}

const char *dpdk_version(void)
{
	return rte_version();
}

static size_t taken(void)
{
	struct rte_malloc_socket_stats stats;
	return rte_malloc_get_socket_stats(0, &stats) ? 0 : stats.heap_allocsz_bytes;
}

static void field(struct rte_acl_config *config, int type, int size, int input, int offset)
{
	int index = config->num_fields++;
	config->defs[index] = (struct rte_acl_field_def){ type, size, index, input, offset };
}

/* `values` and `lengths`: a column for each word of the source, then of the destination, most significant first.
 * `ports`: low and high of the source port, then of the destination's, a column each. `care` may be NULL.
 * Returns 0, or -1 and a message in `error`. */
int dpdk_build(struct list *list, const char *name, int count, int words, const uint32_t *values,
	       const uint8_t *lengths, const uint16_t *ports, const uint8_t *protocol, const uint8_t *mask,
	       const uint8_t *value, const uint8_t *care, char *error)
{
	struct rte_acl_config config;
	int code, fields = 1 + 2 * words + 2 + (care != NULL);
	struct rte_acl_param parameters = { .name = name, .socket_id = SOCKET_ID_ANY,
		.rule_size = RTE_ACL_RULE_SZ(fields), .max_rule_num = count };
	size_t before = taken();

	*list = (struct list){ rte_acl_create(&parameters), 0, words, care != NULL };
	if (list->context == NULL) {
		snprintf(error, 200, "rte_acl_create: %s", rte_strerror(rte_errno));
		return -1;
	}
	for (int i = 0; i < count; i++) {
		struct rule rule;
		struct rte_acl_field *at = rule.field;

		memset(&rule, 0, sizeof(rule));
		rule.data.category_mask = 1;
		rule.data.priority = RTE_ACL_MAX_PRIORITY - i;
		rule.data.userdata = i + 1;
		at->value.u8 = protocol[i];
		at++->mask_range.u8 = mask[i];
		for (int w = 0; w < 2 * words; w++) {
			at->value.u32 = values[w * count + i];
			at++->mask_range.u32 = lengths[w * count + i];
		}
		for (int p = 0; p < 4; p += 2) {
			at->value.u16 = ports[p * count + i];
			at++->mask_range.u16 = ports[(p + 1) * count + i];
		}
		if (care != NULL) {
			at->value.u32 = value[i];
			at->mask_range.u32 = care[i];
		}
		if ((code = rte_acl_add_rules(list->context, (struct rte_acl_rule *)&rule, 1))) {
			snprintf(error, 200, "rte_acl_add_rules: rule %d: %s", i, rte_strerror(-code));
			rte_acl_free(list->context);
			return -1;
		}
	}
	memset(&config, 0, sizeof(config));
	config.num_categories = 1;
	field(&config, RTE_ACL_FIELD_TYPE_BITMASK, 1, 0, 0);
	for (int w = 0; w < 2 * words; w++)
		field(&config, RTE_ACL_FIELD_TYPE_MASK, 4, 1 + w, 4 + 4 * w);
	for (int p = 0; p < 2; p++)
		field(&config, RTE_ACL_FIELD_TYPE_RANGE, 2, 1 + 2 * words, 4 + 8 * words + 2 * p);
	if (care != NULL)
		field(&config, RTE_ACL_FIELD_TYPE_BITMASK, 4, 2 + 2 * words, 8 + 8 * words);
	if ((code = rte_acl_build(list->context, &config))) {
		snprintf(error, 200, "rte_acl_build: %s", rte_strerror(-code));
		rte_acl_free(list->context);
		return -1;
	}
	list->bytes = taken() - before;
	return 0;
}

/* Whether the library runs this algorithm here. */
int dpdk_supports(const struct list *list, int algorithm)
{
	return rte_acl_set_ctx_classify(list->context, algorithm) == 0;
}

int dpdk_key_size(const struct list *list)
{
	return 8 + 8 * list->words + 4 * list->flags;
}

void dpdk_keys(const struct list *list, int count, const uint32_t *values, const uint16_t *sport,
	       const uint16_t *dport, const uint8_t *protocol, const uint8_t *flags, uint8_t *keys,
	       const uint8_t **pointers)
{
	int size = dpdk_key_size(list);

	for (int i = 0; i < count; i++) {
		uint8_t *key = keys + (size_t)i * size;
		uint32_t *at = (uint32_t *)key;

		pointers[i] = key;
		*at++ = 0;
		*key = protocol[i];
		for (int w = 0; w < 2 * list->words; w++)
			*at++ = htonl(values[(size_t)w * count + i]);
		((uint16_t *)at)[0] = htons(sport[i]);
		((uint16_t *)at++)[1] = htons(dport[i]);
		if (list->flags)
			*at = htonl(flags[i]);
	}
}

int dpdk_classify(const struct list *list, int algorithm, int count, const uint8_t **pointers, uint32_t *results)
{
	for (int i = 0; i < count; i += CALL) {
		int code = rte_acl_classify_alg(list->context, pointers + i, results + i, count - i < CALL ? count - i : CALL,
						1, algorithm);
		if (code)
			return code;
	}
	return 0;
}

void dpdk_free(struct list *list)
{
	rte_acl_free(list->context);
}
