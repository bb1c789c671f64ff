"""The smallest edit that makes packets reach their destination, or that keeps them from it.

Algebra. Of all edits of single lines (a rule inserted, replaced or deleted, on any device), `fix` takes those with the
fewest lines that let through everything that was asked, opening packet and answer; of those the one that lets through
least besides. Closing is the mirror image: the fewest lines after which all of it is blocked on every way and
every expectation that is to be kept lets through exactly what it did; of those the one that stops least besides.
Where nothing is missing (or nothing is exposed) there is nothing to do.

What is searched and what is proven: that fewer lines do not do is searched, and the search is stated; that no
condition of a new rule can be narrower is proven, by a packet that was asked about for each end of each range;
that the edit does what it says is decided anew, by `reach` on the edited network and by comparing the rules of each
edited device. Where no edit of rules can help (a route, a reverse path, a translation, something unmodelled, a
condition that the dialect has no words for) the answer says so.
"""

from netsim.queries.fix.cover import UNCOUNTED, Narrow
from netsim.queries.fix.model import COLUMNS, EditKind, Fix, FixStatus, Kept, LineEdit, Reason, Searched
from netsim.queries.fix.query import fix

__all__ = [
    "COLUMNS",
    "UNCOUNTED",
    "EditKind",
    "Fix",
    "FixStatus",
    "Kept",
    "LineEdit",
    "Narrow",
    "Reason",
    "Searched",
    "fix",
]
