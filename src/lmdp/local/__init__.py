"""One machine's ends of the path: broker, publisher, consumer, warehouse, and the answers to questions."""
