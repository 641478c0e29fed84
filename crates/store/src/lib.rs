//! mxtrunk-store
