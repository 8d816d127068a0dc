//! What goes wrong in TLS, in the words of whoever reads the exception.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError, PeerIncompatible};
use socketkit_wire::hello::Refusal;

use super::verify::Rejected;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The kernel saw an end that the peer had not announced: somebody on the way can forge that one.
    #[error("cut: it ended without close_notify, so what came last may be missing (RFC 8446 section 6.1)")]
    Truncated,
    #[error("the peer refused: {0}")]
    Refused(&'static str),
    #[error("{0}")]
    Untrusted(Rejected),
    #[error("{0}")]
    NotTls(Refusal),
    #[error("{0}")]
    Violation(String),
    #[error("{0}")]
    Local(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => {
                match other.downcast_ref::<Rejected>() {
                    Some(rejected) => Fault::Untrusted(rejected.clone()),
                    None => Fault::Violation(other.to_string()),
                }
            }
            Error::InvalidCertificate(why) => Fault::Violation(format!("its certificate is not valid: {why}")),
            Error::NoCertificatesPresented => Fault::Untrusted(Rejected::anonymous()),
            Error::AlertReceived(alert) => Fault::Refused(words(alert)),
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Fault::Violation("the peer does not speak TLS".to_owned())
            }
            Error::PeerIncompatible(
                PeerIncompatible::Tls13RequiredForQuic
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::Tls12NotOffered,
            ) => Fault::Violation("the peer does not speak TLS 1.3".to_owned()),
            Error::PeerIncompatible(_)
            | Error::PeerMisbehaved(_)
            | Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord
            | Error::NoApplicationProtocol => Fault::Violation(format!("broken TLS: {error}")),
            other => Fault::Local(other.to_string()),
        }
    }
}

/// RFC 8446 §6.2, with what to do about it where that is known.
fn words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.3",
        AlertDescription::CertificateRequired => "it wants to know who calls: give an identity (key=)",
        AlertDescription::AccessDenied
        | AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnknownCA => {
            "it does not trust this identity: let it add this one's fingerprint (`socketkit identity`) to its authorized peers"
        }
        AlertDescription::CertificateExpired => "for it, this side's certificate has expired",
        AlertDescription::UnrecognisedName => "it does not know the name that was asked for (sni=)",
        AlertDescription::NoApplicationProtocol => "it speaks none of the application protocols that were offered (alpn=)",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "no cipher or key exchange that both sides accept"
        }
        AlertDescription::RecordOverflow => "a record was too long for it",
        AlertDescription::BadRecordMac | AlertDescription::DecryptError => "what arrived there was not what was sent",
        AlertDescription::InternalError => "it failed within itself",
        AlertDescription::UserCanceled => "it has cancelled the handshake",
        _ => "it found a fault in the handshake",
    }
}
