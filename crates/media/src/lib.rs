//! mxtrunk-media
