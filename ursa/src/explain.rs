//! `ursa explain pod`: why a pod has its node, or has none.

use crate::args::ExplainArgs;
use crate::components::scheduler_config;
use crate::tenant::{block_on, client};
use api::TenantName;
use scheduler::PodKey;

/// Prints the answer. `Err` is one sentence for who asked.
pub fn main(args: ExplainArgs) -> Result<(), String> {
    if args.what != "pod" && args.what != "pods" {
        return Err(format!("there is nothing to explain of {:?}: only of a pod", args.what));
    }
    let tenant = TenantName::new(&args.tenant).map_err(|e| e.to_string())?;
    let config = args.scheduler_config.as_deref().map(scheduler_config).transpose()?.unwrap_or_default();
    block_on(async move {
        let key = PodKey::new(&tenant, &args.namespace, &args.name);
        let text = scheduler::explain(&client(&args.client)?, config, &key).await.map_err(|e| e.to_string())?;
        print!("{text}");
        Ok(())
    })
}
