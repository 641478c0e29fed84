//! mxtrunk-testbed
