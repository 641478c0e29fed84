//! The fence in front of the stack: who may speak to us, how much, and
//! whether it is SIP at all. rsipstack bounds nothing and answers anybody, so
//! every check that can end in silence happens here, before it sees a message.

mod admission;
mod counters;
pub(crate) mod fuzzing;
mod gate;
mod mend;
mod rate;
mod screen;
mod strangers;
mod stream;
mod udp;

pub(crate) use admission::Admission;
pub use counters::CounterValues;
pub(crate) use gate::Gate;
pub(crate) use rate::Bucket;
pub(crate) use stream::{FencedStream, RawWriter};
pub(crate) use udp::FencedUdp;
