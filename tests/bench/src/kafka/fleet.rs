//! One process of every role, and a provider that the syncer tells.

use super::{
    role::{Role, Served},
    servers::Cluster,
};
use anyhow::Context as _;
use testkit::{Fake, fake::FakeProvider};

const ROLES: [Role; 5] = [Role::Gateway, Role::Normalizer, Role::Suppressor, Role::Syncer, Role::Lookup];
/// No secret of anybody's: the fake provider asks for it.
const API_KEY: &str = "bench-sendgrid-api-key";

/// All of them; killed when dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) served: Vec<Served>,
    fake: Fake,
    /// The fake provider's.
    _runtime: tokio::runtime::Runtime,
}

impl Fleet {
    /// Starts them and waits until all are ready.
    pub(super) fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let provider = FakeProvider::SendGrid { api_key: API_KEY.to_owned(), groups: Vec::new() };
        let fake = runtime.block_on(Fake::start(provider)).context("a fake provider cannot listen on loopback")?;
        let file = cluster.folder("syncer")?.join("credential");
        std::fs::write(&file, API_KEY)?;
        let account = format!(
            "\n[[account]]\nname = \"bench\"\nprovider = \"sendgrid\"\nbase_url = \"{}\"\ncredential = \"file:{}\"\n\
             allow_private = true\n",
            fake.url(),
            file.display()
        );
        let start = |role| Served::start(cluster, role, if role == Role::Syncer { &account } else { "" });
        let served = ROLES.into_iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { served, fake, _runtime: runtime })
    }

    pub(super) fn of(&self, role: Role) -> anyhow::Result<&Served> {
        self.served.iter().find(|served| served.role == role).context("every role has a process")
    }

    /// An error once one has ended by itself.
    pub(super) fn alive(&mut self) -> anyhow::Result<()> {
        self.served.iter_mut().try_for_each(Served::alive)
    }

    /// Calls that the provider got.
    pub(super) fn provider_calls(&self) -> u64 {
        self.fake.calls()
    }

    /// Ends them as a supervisor does.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.served.into_iter().try_for_each(Served::stop)
    }
}
