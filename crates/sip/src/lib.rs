//! mxtrunk-sip
