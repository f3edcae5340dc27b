//! Whose notifications these are: the `brand` of a template and of the layout around a mail.

use serde::{Deserialize, Serialize};

/// What is shown of the sender. Set in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brand {
    pub name: String,
    /// The accent of a mail's layout, as `#rrggbb`.
    pub color: String,
    /// An image of at most 40 pixels' height, over https: a mail has no other.
    pub logo_url: Option<String>,
    /// Where the name and the logo lead.
    pub url: Option<String>,
    /// A postal address, in the foot of a mail.
    pub address: Option<String>,
}

impl Default for Brand {
    fn default() -> Self {
        Self {
            name: "Postrider".to_owned(),
            color: "#1f4e79".to_owned(),
            logo_url: None,
            url: None,
            address: None,
        }
    }
}
