//! What went wrong in systems like ours, each as a test that names the system and the rule.

mod requests;
mod sessions;
mod trail;
