//! Options of the reference's tools that these do not have yet: refused, not ignored.

use anyhow::{Result, bail};
use clap::Args;

/// See the module.
#[derive(Debug, Clone, Args)]
pub(super) struct NotYet {
    /// Batch size for transactions. Only 0 (no transactions) is supported yet
    #[arg(long, value_name = "N", default_value_t = 0)]
    tx: u32,
    /// Rollback frequency. Only 0 is supported yet
    #[arg(long, value_name = "N", default_value_t = 0)]
    rollback_frequency: u32,
    /// Listen for membership updates. Not supported yet
    #[arg(long)]
    failover_updates: bool,
}

impl NotYet {
    /// Refuses what was asked for and is not there.
    pub(super) fn check(&self) -> Result<()> {
        if self.tx != 0 || self.rollback_frequency != 0 {
            bail!("--tx and --rollback-frequency: transactions are not supported yet");
        }
        if self.failover_updates {
            bail!("--failover-updates: failover is not supported yet");
        }
        Ok(())
    }
}
