//! `scoregate run`.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::runtime::LocalOptions;
use tokio::runtime::LocalRuntime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::cli::fail;
use crate::server::process::Process;

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(config: PathBuf) -> ExitCode {
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async {
        // Heard from here on, so that whoever ends a start ends it in order as well.
        let stop = told_to_stop();
        match Process::start(config).await {
            Ok(process) => {
                process.run(stop).await;
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        }
    })
}

/// The runtime of everything but requests.
pub(super) fn control_runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(8).build_local(LocalOptions::default())
}

/// Listens for SIGTERM and SIGINT from the moment of the call, and ends at either. The first process of a container has
/// no default handlers: without this one SIGTERM would be ignored there.
pub(super) fn told_to_stop() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be heard; only SIGKILL will stop the gateway");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
