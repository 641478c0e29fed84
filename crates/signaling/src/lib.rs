//! mxtrunk-signaling
pub mod directory;
pub mod numbers;
