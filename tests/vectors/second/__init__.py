"""A second decoder of packets, written from the description of the wire alone, never from the Rust code.

It shares nothing with the product, so that a mistake has to be made twice, independently, to stay unseen. Tests only: no timing is hidden,
no secret is wiped, and only what a reader needs is here. Begin with `packet.py`; `check.py` holds the wire's own check values.
"""
