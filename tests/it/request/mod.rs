//! R1 to R19: what a request may do, through the layer, with the marker in its URL or in a header.

mod acting;
mod bodies;
mod checks;
mod failures;
mod layer;
mod markers;
mod origin;
mod refusals;
mod routes;
mod spellings;

/// What the host's authentication leaves in the extensions.
#[derive(Debug, Clone, PartialEq)]
struct Login(String);
