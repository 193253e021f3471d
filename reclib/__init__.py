"""Helper library of an open study of LLMs in e-commerce recommendation.

Rooms, imported in one direction only: ``study`` → ``evaluation`` → ``models`` → ``data``.
"""

__version__ = "0.1.0"
