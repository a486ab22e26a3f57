//! A1 to A6: what the trail promises about sessions and acted requests.

mod durable;
mod folding;
mod outcomes;
mod soak;
