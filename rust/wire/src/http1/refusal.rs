//! Why a request is refused, and what its sender is told.

use thiserror::Error;

/// Each one is answered with its status, and ends the connection: where the next request begins is not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the request line is not one of HTTP")]
    RequestLine,
    #[error("HTTP/1.1 and HTTP/1.0 are spoken here")]
    Version,
    #[error("a line does not end with CR LF, or one of the two stands alone")]
    LineEnd,
    #[error("a header field is not written as one")]
    Field,
    #[error("more than 100 header fields")]
    TooManyFields,
    #[error("the head is longer than 32 KiB")]
    HeadTooLong,
    #[error("the request target is longer than 8 KiB")]
    TargetTooLong,
    #[error("the request target is none of this method's forms")]
    Target,
    #[error("CONNECT is for proxies")]
    Connect,
    #[error("there must be one Host, which names one host")]
    Host,
    #[error("Content-Length must be one number")]
    ContentLength,
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    BothLengths,
    #[error("Transfer-Encoding is no part of HTTP/1.0")]
    OldTransferEncoding,
    #[error("of transfer codings only chunked is known here, and once")]
    TransferCoding,
    #[error("nothing but 100-continue can be expected")]
    Expectation,
    #[error("the body is larger than what is taken here")]
    BodyTooLarge,
    #[error("the chunked body is not written as one")]
    Chunk,
    #[error("the chunked body has too long extensions or trailers")]
    ChunkTooLong,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Refusal::RequestLine
            | Refusal::LineEnd
            | Refusal::Field
            | Refusal::Target
            | Refusal::Host
            | Refusal::ContentLength
            | Refusal::BothLengths
            | Refusal::OldTransferEncoding
            | Refusal::Chunk
            | Refusal::ChunkTooLong => 400,
            Refusal::BodyTooLarge => 413,
            Refusal::TargetTooLong => 414,
            Refusal::Expectation => 417,
            Refusal::TooManyFields | Refusal::HeadTooLong => 431,
            Refusal::Connect | Refusal::TransferCoding => 501,
            Refusal::Version => 505,
        }
    }
}
