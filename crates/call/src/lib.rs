//! mxtrunk-call
