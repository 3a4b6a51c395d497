//! What the macro writes, and what it refuses.

mod enums;
mod generics;
mod hygiene;
mod payloads;
mod rejected;
mod structs;
