//! What acted pages carry (feature `page`).

pub(crate) mod script;
