//! mxtrunk-matrix
