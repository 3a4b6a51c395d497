//! All SQL of a transactional outbox, once, for every ORM adapter.
