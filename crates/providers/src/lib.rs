//! Everything Quell knows about providers: how each authenticates, what its webhooks say, and how its suppression lists
//! are changed. Pure: bytes in, values out. Requests come in through the ingest-gateway and the normalizer; requests to
//! suppression APIs are built here and sent by the syncer.
//!
//! One folder a provider. Adding one adds a folder and a line in [`PROVIDERS`]. Any other is declared by a file, without code:
//! [`declared`].

mod draft;
mod form;
mod json;
mod known;
mod machine;
mod mail;
mod sns;
mod verify;

pub mod arf;
pub mod brevo;
pub mod declared;
pub mod drip;
pub mod dsn;
pub mod generic;
pub mod mailersend;
pub mod mailgun;
pub mod mailjet;
pub mod mailomat;
pub mod mailtrap;
pub mod mandrill;
pub mod one_click;
pub mod postal;
pub mod postmark;
pub mod request;
pub mod resend;
pub mod scaleway;
pub mod sendgrid;
pub mod ses;
pub mod source;
pub mod sparkpost;
pub mod suppression_api;
pub mod sweego;
pub mod twilio;
pub mod unisender_go;
pub mod vonage;
pub mod webhook;

pub use known::{NameTaken, Providers};
pub use request::Request;
pub use source::{Source, SourceError, SourceSpec};
pub use verify::x509::{Certificate, CertificateError};
pub use webhook::{Authentication, Context, Element, Fate, Malformed, Overload, Parsed, Provider, Triage, Wanted};

/// Every provider that is built in.
#[rustfmt::skip]
pub static PROVIDERS: &[&dyn Provider] = &[
    &sendgrid::SendGrid,
    &postmark::Postmark,
    &mailgun::Mailgun,
    &drip::Drip,
    &twilio::Twilio,
    &generic::Generic,
    &brevo::Brevo,
    &mailjet::Mailjet,
    &postal::Postal,
    &unisender_go::UnisenderGo,
    &mailomat::Mailomat,
    &vonage::Vonage,
    &scaleway::Scaleway,
    &sweego::Sweego,
    &resend::Resend,
    &mailersend::MailerSend,
    &mailtrap::Mailtrap,
    &sparkpost::SparkPost,
    &mandrill::Mandrill,
    &ses::Ses,
    &dsn::Dsn,
    &arf::Arf,
    &one_click::OneClick,
];

/// The built-in provider of a name, as it stands in paths and configuration. With those that the configuration declares:
/// [`Providers::by_name`].
pub fn by_name(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}

#[cfg(any(test, feature = "testing"))]
pub mod attack;
#[cfg(any(test, feature = "testing"))]
pub mod samples;
#[cfg(test)]
mod testing;
