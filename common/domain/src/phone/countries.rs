//! The countries of the world, for a list to choose from. As with the calling codes, a table of its own: a list of all
//! regions that asked the numbering plans would load the patterns of each, 1 MB a piece.

use super::NO_REGION;

/// A region of the numbering plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166.
    pub region: &'static str,
    pub calling_code: u16,
    /// The sizes of the groups in which a mobile number is written after its calling code: `334` is `912 345 6789`.
    pub groups: &'static str,
}

/// All regions that have mobile numbers, in the order of their names.
pub fn countries() -> impl Iterator<Item = Country> {
    TABLE.iter().map(|&(region, calling_code, groups)| Country { region, calling_code, groups })
}

/// The label of a country in a metric: the region itself if it is one of ours or [`NO_REGION`], else `other`. Whoever may
/// write to the broker could name any number of countries, and each would be a time series of its own.
pub fn country_label(region: &str) -> &'static str {
    match TABLE.binary_search_by_key(&region, |&(known, ..)| known) {
        Ok(at) => TABLE[at].0,
        Err(_) if region == NO_REGION => NO_REGION,
        Err(_) => "other",
    }
}

/// From the numbering plans' example of a mobile number of each region, in international form.
#[rustfmt::skip]
const TABLE: [(&str, u16, &str); 244] = [
    ("AC", 247, "5"), ("AD", 376, "33"), ("AE", 971, "234"), ("AF", 93, "234"), ("AG", 1, "334"), ("AI", 1, "334"),
    ("AL", 355, "234"), ("AM", 374, "26"), ("AO", 244, "333"), ("AR", 54, "1244"), ("AS", 1, "334"), ("AT", 43, "36"),
    ("AU", 61, "333"), ("AW", 297, "34"), ("AX", 358, "27"), ("AZ", 994, "2322"), ("BA", 387, "233"),
    ("BB", 1, "334"), ("BD", 880, "46"), ("BE", 32, "3222"), ("BF", 226, "2222"), ("BG", 359, "233"),
    ("BH", 973, "44"), ("BI", 257, "2222"), ("BJ", 229, "22222"), ("BL", 590, "3222"), ("BM", 1, "334"),
    ("BN", 673, "34"), ("BO", 591, "8"), ("BQ", 599, "34"), ("BR", 55, "254"), ("BS", 1, "334"), ("BT", 975, "2222"),
    ("BW", 267, "233"), ("BY", 375, "2322"), ("BZ", 501, "34"), ("CA", 1, "334"), ("CC", 61, "333"),
    ("CD", 243, "333"), ("CF", 236, "2222"), ("CG", 242, "234"), ("CH", 41, "2322"), ("CI", 225, "2224"),
    ("CK", 682, "23"), ("CL", 56, "144"), ("CM", 237, "12222"), ("CN", 86, "344"), ("CO", 57, "37"),
    ("CR", 506, "44"), ("CU", 53, "17"), ("CV", 238, "322"), ("CW", 599, "134"), ("CX", 61, "333"), ("CY", 357, "26"),
    ("CZ", 420, "333"), ("DE", 49, "47"), ("DJ", 253, "2222"), ("DK", 45, "2222"), ("DM", 1, "334"), ("DO", 1, "334"),
    ("DZ", 213, "3222"), ("EC", 593, "234"), ("EE", 372, "44"), ("EG", 20, "28"), ("EH", 212, "12222"),
    ("ER", 291, "133"), ("ES", 34, "3222"), ("ET", 251, "234"), ("FI", 358, "27"), ("FJ", 679, "34"),
    ("FK", 500, "5"), ("FM", 691, "34"), ("FO", 298, "222"), ("FR", 33, "12222"), ("GA", 241, "2222"),
    ("GB", 44, "46"), ("GD", 1, "334"), ("GE", 995, "3222"), ("GF", 594, "3222"), ("GG", 44, "46"),
    ("GH", 233, "234"), ("GI", 350, "8"), ("GL", 299, "222"), ("GM", 220, "34"), ("GN", 224, "3222"),
    ("GP", 590, "3222"), ("GQ", 240, "333"), ("GR", 30, "334"), ("GT", 502, "44"), ("GU", 1, "334"),
    ("GW", 245, "333"), ("GY", 592, "34"), ("HK", 852, "44"), ("HN", 504, "44"), ("HR", 385, "234"),
    ("HT", 509, "224"), ("HU", 36, "234"), ("ID", 62, "333"), ("IE", 353, "234"), ("IL", 972, "234"),
    ("IM", 44, "46"), ("IN", 91, "55"), ("IO", 246, "34"), ("IQ", 964, "334"), ("IR", 98, "334"), ("IS", 354, "34"),
    ("IT", 39, "334"), ("JE", 44, "46"), ("JM", 1, "334"), ("JO", 962, "144"), ("JP", 81, "244"), ("KE", 254, "36"),
    ("KG", 996, "333"), ("KH", 855, "233"), ("KI", 686, "8"), ("KM", 269, "322"), ("KN", 1, "334"),
    ("KP", 850, "334"), ("KR", 82, "244"), ("KW", 965, "35"), ("KY", 1, "334"), ("KZ", 7, "334"), ("LA", 856, "2233"),
    ("LB", 961, "233"), ("LC", 1, "334"), ("LI", 423, "333"), ("LK", 94, "234"), ("LR", 231, "234"),
    ("LS", 266, "44"), ("LT", 370, "35"), ("LU", 352, "333"), ("LV", 371, "233"), ("LY", 218, "27"),
    ("MA", 212, "12222"), ("MC", 377, "12222"), ("MD", 373, "323"), ("ME", 382, "233"), ("MF", 590, "3222"),
    ("MG", 261, "2232"), ("MH", 692, "34"), ("MK", 389, "233"), ("ML", 223, "2222"), ("MM", 95, "134"),
    ("MN", 976, "44"), ("MO", 853, "44"), ("MP", 1, "334"), ("MQ", 596, "3222"), ("MR", 222, "2222"),
    ("MS", 1, "334"), ("MT", 356, "44"), ("MU", 230, "44"), ("MV", 960, "34"), ("MW", 265, "3222"), ("MX", 52, "334"),
    ("MY", 60, "234"), ("MZ", 258, "234"), ("NA", 264, "234"), ("NC", 687, "8"), ("NE", 227, "2222"),
    ("NF", 672, "15"), ("NG", 234, "334"), ("NI", 505, "44"), ("NL", 31, "18"), ("NO", 47, "2222"), ("NP", 977, "37"),
    ("NR", 674, "34"), ("NU", 683, "34"), ("NZ", 64, "234"), ("OM", 968, "44"), ("PA", 507, "44"), ("PE", 51, "333"),
    ("PF", 689, "2222"), ("PG", 675, "44"), ("PH", 63, "334"), ("PK", 92, "37"), ("PL", 48, "333"),
    ("PM", 508, "222"), ("PR", 1, "334"), ("PS", 970, "333"), ("PT", 351, "333"), ("PW", 680, "34"),
    ("PY", 595, "36"), ("QA", 974, "44"), ("RE", 262, "3222"), ("RO", 40, "333"), ("RS", 381, "27"),
    ("RU", 7, "3322"), ("RW", 250, "333"), ("SA", 966, "234"), ("SB", 677, "25"), ("SC", 248, "133"),
    ("SD", 249, "234"), ("SE", 46, "2322"), ("SG", 65, "44"), ("SH", 290, "5"), ("SI", 386, "233"),
    ("SJ", 47, "2222"), ("SK", 421, "333"), ("SL", 232, "26"), ("SM", 378, "2222"), ("SN", 221, "2322"),
    ("SO", 252, "17"), ("SR", 597, "34"), ("SS", 211, "333"), ("ST", 239, "34"), ("SV", 503, "44"), ("SX", 1, "334"),
    ("SY", 963, "333"), ("SZ", 268, "44"), ("TC", 1, "334"), ("TD", 235, "2222"), ("TG", 228, "2222"),
    ("TH", 66, "234"), ("TJ", 992, "234"), ("TK", 690, "4"), ("TL", 670, "44"), ("TM", 993, "26"), ("TN", 216, "233"),
    ("TO", 676, "34"), ("TR", 90, "3322"), ("TT", 1, "334"), ("TV", 688, "24"), ("TW", 886, "333"),
    ("TZ", 255, "333"), ("UA", 380, "234"), ("UG", 256, "36"), ("US", 1, "334"), ("UY", 598, "233"),
    ("UZ", 998, "2322"), ("VA", 39, "334"), ("VC", 1, "334"), ("VE", 58, "37"), ("VG", 1, "334"), ("VI", 1, "334"),
    ("VN", 84, "333"), ("VU", 678, "34"), ("WF", 681, "222"), ("WS", 685, "25"), ("XK", 383, "233"),
    ("YE", 967, "333"), ("YT", 262, "3222"), ("ZA", 27, "234"), ("ZM", 260, "27"), ("ZW", 263, "234"),
];

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    #[test]
    fn the_countries_are_those_of_the_numbering_plans() {
        let planned = plan::countries();
        let planned: Vec<_> = planned
            .iter()
            .map(|(region, code, groups)| {
                (region.as_str(), u16::try_from(*code).unwrap(), groups.as_str())
            })
            .collect();
        assert_eq!(TABLE[..], planned[..]);
    }

    #[test]
    fn a_label_of_a_metric_is_a_known_country_or_other() {
        assert!(TABLE.is_sorted_by_key(|(region, ..)| *region), "it is searched");
        for (region, label) in [
            ("IR", "IR"),
            ("XK", "XK"),
            ("ZZ", "ZZ"),
            ("QQ", "other"),
            ("", "other"),
            ("ir", "other"),
        ] {
            assert_eq!(country_label(region), label);
        }
    }
}
