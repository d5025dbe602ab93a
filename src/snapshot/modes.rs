//! Which auth mode is in force: what the store says, where `gateway.yaml` lets it, and what the file says otherwise.
//!
//! This is the one place where the two meet. Whatever reads the result finds one mode in each service.

use std::sync::Arc;

use crate::config::Config;
use crate::store::state::State;

/// The configuration with the modes in force.
#[must_use]
pub fn in_force(written: &Arc<Config>, state: &State) -> Arc<Config> {
    let chosen = state.auth_modes.iter().filter_map(|(name, mode)| {
        let service = written.services.get(name).filter(|service| service.managed.is_some())?;
        Some((name.clone(), service.in_mode(*mode)))
    });
    let mut chosen = chosen.peekable();
    if chosen.peek().is_none() {
        return Arc::clone(written);
    }
    let mut config = Config::clone(written);
    config.services.extend(chosen);
    Arc::new(config)
}

/// Choices in the store that count for nothing, a line for each.
#[must_use]
pub fn ignored(written: &Config, state: &State) -> Vec<String> {
    let each = state.auth_modes.iter().filter_map(|(name, mode)| {
        let mode = mode.as_str();
        match written.services.get(name) {
            Some(service) if service.managed.is_some() => None,
            Some(_) => Some(format!(
                "services.{name}: the mode {mode} was chosen through the API, and without `managed: true` the file's \
                 mode is in force"
            )),
            None => {
                Some(format!("services.{name}: the mode {mode} was chosen through the API for a service that is gone"))
            }
        }
    });
    each.collect()
}
