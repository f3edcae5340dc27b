//! Catalog: this process's copy of rules, templates and limits, as old as its revision says.
//!
//! [`Catalog::current`] asks the database for the revisions, once per claim, and loads again what
//! has changed since. What it answers is a snapshot: a job is decided on one, whatever changes
//! meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use domain::{RuleBook, TemplateNames, TenantId};
use render::Templates;
use store::revisions::{Revisions, read_revisions};
use store::{Connection, StoreError};

/// A snapshot of what is kept.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// `None` before the first look.
    revisions: Option<Revisions>,
    rules: HashMap<TenantId, Arc<RuleBook>>,
    /// Those that ship with the binary, which every tenant has.
    builtin: Arc<Templates>,
    names: Arc<TemplateNames>,
}

/// The copy of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<RwLock<Arc<Shelf>>>);

impl Catalog {
    /// Knows nothing yet but the templates that ship with the binary.
    pub fn new(builtin: Templates) -> Self {
        let named = builtin.names().map(|name| (name, builtin.category(name)));
        let names = Arc::new(TemplateNames::new(named));
        Self(Arc::new(RwLock::new(Arc::new(Shelf {
            revisions: None,
            rules: HashMap::new(),
            builtin: Arc::new(builtin),
            names,
        }))))
    }

    /// The snapshot at the revisions of the database.
    pub async fn current(&self, connection: &mut Connection) -> Result<Arc<Shelf>, StoreError> {
        let revisions = read_revisions(connection).await?;
        let known = self.latest();
        if known.revisions == Some(revisions) {
            return Ok(known);
        }
        let mut shelf = Shelf::clone(&known);
        // Each part is loaded here if its revision differs.
        shelf.revisions = Some(revisions);
        let shelf = Arc::new(shelf);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&shelf);
        Ok(shelf)
    }

    /// The last snapshot, without a look at the database.
    pub fn latest(&self) -> Arc<Shelf> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shelf {
    /// The templates that ship with the binary.
    pub fn templates(&self) -> &Arc<Templates> {
        &self.builtin
    }

    /// What routing needs to know of a tenant's templates.
    pub(crate) fn template_names(&self, _tenant: &TenantId) -> Arc<TemplateNames> {
        Arc::clone(&self.names)
    }

    /// A tenant's rules; `None` where there are none.
    pub fn rules(&self, tenant: &TenantId) -> Option<&Arc<RuleBook>> {
        self.rules.get(tenant)
    }
}
