//! Everything Quell knows about providers: how each authenticates, what its webhooks say, and how its suppression lists
//! are changed. Pure: bytes in, values out. Requests come in through the ingest-gateway and the normalizer; requests to
//! suppression APIs are built here and sent by the syncer.
//!
//! One folder a provider. Adding one adds a folder and a line in [`PROVIDERS`].

mod draft;
mod form;
mod json;
mod verify;

pub mod brevo;
pub mod drip;
pub mod generic;
pub mod mailersend;
pub mod mailgun;
pub mod mailjet;
pub mod mailomat;
pub mod mailtrap;
pub mod mandrill;
pub mod postal;
pub mod postmark;
pub mod request;
pub mod resend;
pub mod scaleway;
pub mod sendgrid;
pub mod source;
pub mod sparkpost;
pub mod suppression_api;
pub mod sweego;
pub mod twilio;
pub mod unisender_go;
pub mod vonage;
pub mod webhook;

pub use request::Request;
pub use source::{Source, SourceError, SourceSpec};
pub use webhook::{Authentication, Context, Element, Fate, Malformed, Overload, Parsed, Provider, Triage};

/// Every provider there is.
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
];

/// The provider of a name, as it stands in paths and configuration.
pub fn by_name(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}

#[cfg(test)]
mod testing;
