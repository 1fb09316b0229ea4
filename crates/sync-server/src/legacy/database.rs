//! Rows of databases as the JSON of legacy clients.
//!
//! - [`layout`]: which lists the two kinds of clients know, and which tables hold them; [`record`]: their items.
//! - [`table`]: a table of the tenant as such a list; [`cell`]: values of columns.
//! - [`export`]: the rows of the branch as JSON.
//! - [`import`]: JSON becomes a snapshot. Below it [`decode`] reads the body, [`mod@edit`] puts it into the maps of rows, and both
//!   say what is wrong with it ([`refusal`]).

mod cell;
mod decode;
mod edit;
pub(super) mod export;
pub(super) mod import;
mod layout;
mod record;
mod refusal;
mod table;

pub(super) use layout::Layout;
pub use refusal::ImportRefusal;
