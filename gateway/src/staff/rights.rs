//! What each role may do, at the console and by a key: one table (contract, ruling 65).

use accounts::{StaffRole, User};

/// Declares [`Act`]: what staff do, the least role for it, and its words for docs and refusals.
macro_rules! acts {
    ($($(#[$doc:meta])* $act:ident: $least:ident, $words:literal;)+) => {
        /// What a member of staff does at the console, or a program by a key of the admin API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Act { $($(#[$doc])* $act),+ }

        impl Act {
            /// Every act, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$act),+];

            /// The least role that may do it.
            pub const fn least(self) -> StaffRole {
                match self { $(Self::$act => StaffRole::$least),+ }
            }

            /// What it is, after "may".
            pub const fn words(self) -> &'static str {
                match self { $(Self::$act => $words),+ }
            }
        }
    };
}

acts! {
    /// Every list and every page, phones masked.
    See: Viewer, "look at what staff see";
    Reveal: Support, "see a whole phone number";
    CreateUser: Support, "create users";
    EndSessions: Support, "end a user's sessions";
    OpenLock: Support, "open the lock of a phone";
    Resend: Support, "send a code again";
    ClearPassword: Support, "remove a user's password";
    AddNote: Support, "write a note about a user";
    BlockUser: Operator, "block and unblock users";
    ExportUser: Operator, "export all that is stored about a user";
    DeleteUser: Operator, "delete users";
    SetBlocks: Operator, "set and end blocks";
    OpenNet: Operator, "open a net of the pumping guard";
    ExportLists: Operator, "export lists";
    ReplayDead: Operator, "replay and drop dead letters";
    ShutProvider: Operator, "shut and open providers";
    SetRoles: Owner, "grant and remove roles";
}

/// Who acts, and by which role: a member of staff at the console, or a key of the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    /// The name under which the audit knows it: an account's id, or `admin-key:` and the name of a key.
    pub actor: String,
    /// The name that people know it by.
    pub name: String,
    pub role: StaffRole,
}

/// Why an act is refused before anything of it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The role does not allow the act.
    Role(Act, StaffRole),
    /// The account is of staff with a higher role.
    HigherRole,
}

impl Authority {
    /// # Errors
    /// [`Denied::Role`] if the role does not allow the act.
    pub fn may(&self, act: Act) -> Result<(), Denied> {
        if act.least() <= self.role { Ok(()) } else { Err(Denied::Role(act, self.role)) }
    }

    /// # Errors
    /// [`Denied`] if the role does not allow the act, or the account is of staff with a higher role.
    pub fn may_on(&self, act: Act, account: &User) -> Result<(), Denied> {
        self.may(act)?;
        if may_touch(self.role, account) { Ok(()) } else { Err(Denied::HigherRole) }
    }
}

/// Whether this role may act on this account: on an account of staff, only whoever has its role at least.
pub(crate) fn may_touch(role: StaffRole, account: &User) -> bool {
    account.staff_role().is_none_or(|theirs| theirs <= role)
}

#[cfg(test)]
mod tests {
    use StaffRole::{Operator, Owner, Support, Viewer};

    use super::*;

    #[test]
    fn each_act_has_the_role_that_the_contract_gives_it() {
        let may = |role: StaffRole| -> Vec<Act> {
            Act::ALL.iter().copied().filter(|act| act.least() <= role).collect()
        };
        let support = [
            Act::Reveal,
            Act::CreateUser,
            Act::EndSessions,
            Act::OpenLock,
            Act::Resend,
            Act::ClearPassword,
            Act::AddNote,
        ];
        let operator = [
            Act::BlockUser,
            Act::ExportUser,
            Act::DeleteUser,
            Act::SetBlocks,
            Act::OpenNet,
            Act::ExportLists,
            Act::ReplayDead,
            Act::ShutProvider,
        ];
        assert_eq!(may(Viewer), [Act::See]);
        assert_eq!(may(Support), [&[Act::See][..], &support].concat());
        assert_eq!(may(Operator), [&[Act::See][..], &support, &operator].concat());
        let all = [&[Act::See][..], &support, &operator, &[Act::SetRoles]].concat();
        assert_eq!(may(Owner), all);
        assert_eq!(Act::ALL, all);
    }

    #[test]
    fn the_roles_are_ordered() {
        assert!(Viewer < Support && Support < Operator && Operator < Owner);
        assert_eq!(StaffRole::named("admin"), Some(Owner));
        assert_eq!(StaffRole::named("Admin"), None);
    }
}
