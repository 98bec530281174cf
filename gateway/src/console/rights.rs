//! What each role may do at the console: one table (contract, ruling 65).

use accounts::{StaffRole, User};

/// Declares [`Act`]: what staff do, the least role for it, and its words for docs and refusals.
macro_rules! acts {
    ($($(#[$doc:meta])* $act:ident: $least:ident, $words:literal;)+) => {
        /// What a member of staff does at the console.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Act { $($(#[$doc])* $act),+ }

        impl Act {
            /// Every act, in the order of the table.
            #[cfg(test)]
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
    See: Viewer, "look at the console";
    Reveal: Support, "see a whole phone number";
    CreateUser: Support, "create users";
    EndSessions: Support, "end a user's sessions";
    OpenLock: Support, "open the lock of a phone";
    Resend: Support, "send a code again";
    ClearPassword: Support, "remove a user's password";
    BlockUser: Operator, "block and unblock users";
    SetBlocks: Operator, "set and end blocks";
    ExportAudit: Operator, "export the audit";
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
        ];
        let operator = [Act::BlockUser, Act::SetBlocks, Act::ExportAudit];
        assert_eq!(may(Viewer), [Act::See]);
        assert_eq!(may(Support), [&[Act::See][..], &support].concat());
        assert_eq!(may(Operator), [&[Act::See][..], &support, &operator].concat());
        assert_eq!(may(Owner), may(Operator));
    }

    #[test]
    fn the_roles_are_ordered() {
        assert!(Viewer < Support && Support < Operator && Operator < Owner);
        assert_eq!(StaffRole::named("admin"), Some(Owner));
        assert_eq!(StaffRole::named("Admin"), None);
    }
}
