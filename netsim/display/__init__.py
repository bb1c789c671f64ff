"""A small document model: results describe themselves once, and text, HTML and rich render it.

Whatever comes out of a configuration is untrusted: it is escaped in HTML, control characters are made
visible in text, and rich never reads it as markup.
"""

from netsim.display.document import (
    Block,
    Displayed,
    Document,
    Excerpt,
    Heading,
    Items,
    Pairs,
    Paragraph,
    Span,
    Table,
    Tone,
)

__all__ = [
    "Block",
    "Displayed",
    "Document",
    "Excerpt",
    "Heading",
    "Items",
    "Pairs",
    "Paragraph",
    "Span",
    "Table",
    "Tone",
]
