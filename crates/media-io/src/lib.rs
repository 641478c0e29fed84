//! mxtrunk-media-io
