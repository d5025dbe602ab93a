//! The process as a whole: workspace, trusted proxies, access log, shutdown, reload, own tokens.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Noted;
use super::Read;
use super::Reader;
use crate::config::AccessLog;
use crate::config::Audit;
use crate::config::AuditLog;
use crate::config::OnAuditFailure;
use crate::config::OwnTokens;
use crate::config::Reload;
use crate::config::Shutdown;
use crate::config::SigningAlgorithm;
use crate::config::problem::Place;
use crate::config::raw;
use crate::config::units;
use crate::model::resource::ResourceId;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const LEAST_AUDIT_FILE_BYTES: u64 = 4 << 10;
const USUAL_AUDIT_FILE_BYTES: u64 = 64 << 20;
const MOST_AUDIT_FILE_BYTES: u64 = 1 << 30;

/// The workspace where none is configured. The subscription of all zeros is nobody's.
const USUAL_WORKSPACE: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/scoregate\
                               /providers/Microsoft.MachineLearningServices/workspaces/scoregate";

impl Reader {
    pub(super) fn workspace(&mut self, written: Option<&str>, at: &Place) -> Read<ResourceId> {
        let id = self.keep(at, ResourceId::parse(written.unwrap_or(USUAL_WORKSPACE)))?;
        let segments: Vec<&str> = id.folded().split('/').collect();
        let is_workspace = matches!(
            segments.as_slice(),
            [
                "",
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                "microsoft.machinelearningservices",
                "workspaces",
                _
            ]
        );
        if is_workspace {
            return Ok(id);
        }
        self.refuse(
            at,
            "want /subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.MachineLearningServices\
             /workspaces/<name>",
        )
    }

    pub(super) fn networks(&mut self, written: Option<&[String]>, at: &Place) -> Read<Vec<IpNet>> {
        self.each(written.unwrap_or_default(), at, |reader, text, at| {
            let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
            match network {
                Some(network) if network.addr() == network.network() => Ok(network),
                Some(network) => {
                    let whole = network.trunc();
                    reader.refuse(at, format!("want a network without host bits, such as {whole}, or one address"))
                }
                None => reader.refuse(at, "want a network such as 10.0.0.0/8, or an address"),
            }
        })
    }

    /// `beside` is the store's directory.
    pub(super) fn audit(&mut self, written: Option<&raw::Audit>, beside: Option<PathBuf>, at: &Place) -> Read<Audit> {
        let written = match written {
            Some(raw::Audit::Off(raw::OffWord::Off)) => return Ok(Audit::Off),
            Some(raw::Audit::On(written)) => written.clone(),
            None => raw::AuditLog::default(),
        };
        let directory = match &written.directory {
            Some(directory) => self.path(directory, &at.field("directory")),
            None => beside.ok_or(Noted),
        };
        let on_failure = match written.on_failure {
            None | Some(raw::OnAuditFailure::Block) => OnAuditFailure::Block,
            Some(raw::OnAuditFailure::Count) => OnAuditFailure::Count,
        };
        let size_at = at.field("max_file");
        let max_file_bytes = match written.max_file.as_deref().map(|text| self.keep(&size_at, units::size(text))) {
            None => USUAL_AUDIT_FILE_BYTES,
            Some(size) => size?,
        };
        if !(LEAST_AUDIT_FILE_BYTES..=MOST_AUDIT_FILE_BYTES).contains(&max_file_bytes) {
            return self.refuse(&size_at, "want a size from 4KiB to 1GiB");
        }
        Ok(Audit::On(AuditLog { directory: directory?, on_failure, max_file_bytes }))
    }

    pub(super) fn shutdown(&mut self, written: &raw::Shutdown, at: &Place) -> Read<Shutdown> {
        let delay =
            self.duration(written.delay.as_deref(), &at.field("delay"), Duration::from_secs(5), Duration::ZERO, HOUR);
        let deadline = self.duration(
            written.deadline.as_deref(),
            &at.field("deadline"),
            Duration::from_secs(20),
            Duration::ZERO,
            DAY,
        );
        Ok(Shutdown { delay: delay?, deadline: deadline? })
    }

    pub(super) fn reload(&mut self, written: &raw::Reload, at: &Place) -> Read<Reload> {
        let poll = self.duration(
            written.poll.as_deref(),
            &at.field("poll"),
            Duration::from_secs(30),
            Duration::from_secs(1),
            DAY,
        );
        Ok(Reload { poll: poll? })
    }

    pub(super) fn own_tokens(&mut self, written: &raw::OwnTokens, at: &Place) -> Read<OwnTokens> {
        let issuer = match written.issuer.as_deref() {
            Some("") => self.refuse(&at.field("issuer"), "want a text for the `iss` claim"),
            Some(issuer) => Ok(issuer.to_owned()),
            None => Ok("urn:scoregate".to_owned()),
        };
        let algorithm = match written.algorithm {
            None | Some(raw::SigningAlgorithm::Es256) => SigningAlgorithm::Es256,
            Some(raw::SigningAlgorithm::EdDsa) => SigningAlgorithm::EdDsa,
            Some(raw::SigningAlgorithm::Rs256) => SigningAlgorithm::Rs256,
        };
        let lifetime =
            self.duration(written.lifetime.as_deref(), &at.field("lifetime"), 12 * HOUR, MINUTE, 30 * DAY)?;
        let refresh_at = at.field("refresh_after");
        let refresh_after =
            self.duration(written.refresh_after.as_deref(), &refresh_at, lifetime / 2, Duration::ZERO, 30 * DAY)?;
        if refresh_after > lifetime {
            let lifetime = units::show(lifetime);
            return self.refuse(&refresh_at, format!("want a refresh no later than the end of life, {lifetime}"));
        }
        // Clients are told whole seconds, and tokens count in them.
        let refresh_after = Duration::from_secs(refresh_after.as_secs());
        let lifetime = Duration::from_secs(lifetime.as_secs());
        let rotate_every = match written.rotate_every.as_deref() {
            Some("none") => None,
            age => Some(self.duration(age, &at.field("rotate_every"), 90 * DAY, DAY, 3650 * DAY)?),
        };
        Ok(OwnTokens { issuer: issuer?, algorithm, lifetime, refresh_after, rotate_every })
    }
}

pub(super) fn access_log(written: Option<&raw::AccessLog>) -> AccessLog {
    match written {
        Some(raw::AccessLog::Off(raw::OffWord::Off)) => AccessLog::Off,
        Some(raw::AccessLog::On(options)) => AccessLog::On { sample: options.sample.unwrap_or(1.0) },
        None => AccessLog::On { sample: 1.0 },
    }
}
