//! The sinks that come with the crate.

mod fan_out;
mod function;
mod json_lines;
mod memory;
mod tracing;

pub use self::{
    fan_out::FanOut,
    function::{SinkFn, sink_fn},
    json_lines::JsonLines,
    memory::MemorySink,
    tracing::TracingSink,
};
