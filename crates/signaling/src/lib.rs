//! mxtrunk-signaling
