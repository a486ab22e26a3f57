//! PostgreSQL under the support desk: two processes that share one database (R8, R13, S2, S9), and a process that is killed
//! in the middle of its work (A1).

mod crash;
mod replicas;
