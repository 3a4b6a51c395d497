//! Every store with every publisher: what was committed arrives, in order, and nothing else.

mod end_to_end;
mod urls;
