//! mxtrunk
fn main() {}
