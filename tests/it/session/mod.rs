//! S1 to S8: what a session may do, from its start to its end, through the handle and the layer.

mod change;
mod consent;
mod end;
mod limits;
mod start;
mod stop;
