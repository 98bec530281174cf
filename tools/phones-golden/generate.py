"""Writes tests/contract/phones.csv: phone number inputs and the expected result of each.

The values come from Google's reference (PyPI `phonenumbers`; its version must match rlibphonenumber's metadata), plus
Latchkey's own rules: the accepted spellings, the number types that receive messages, and the folding of national
variants. Those rules are implemented here a second time, independently of the Rust code, so that a mistake in one of
them shows.

    python -m venv venv && venv/bin/pip install -r tools/phones-golden/requirements.txt
    venv/bin/python tools/phones-golden/generate.py
"""
import json
import random
import re
from pathlib import Path

import phonenumbers as pn
from phonenumbers import PhoneNumberFormat as Form
from phonenumbers import PhoneNumberType as Type

OUT = Path(__file__).resolve().parents[2] / "tests/contract/phones.csv"
PLAIN = re.compile(r" *\+?[0-9()\-./ ]*[0-9][0-9()\-./ ]*")

REGIONS = """US CA JM DO PR BS TT MX AR BR CL CO PE VE EC UY PY BO CR PA GT CU GB GG JE IM IE FR DE AT CH LI IT VA SM ES PT NL BE LU DK SE
NO FI AX IS PL CZ SK HU RO BG GR TR RU KZ UA BY LT LV EE HR RS BA SI CY MT IL PS JO LB SY IQ IR SA AE QA KW OM YE AF PK IN BD LK NP CN HK MO TW
JP KR VN TH MY SG ID PH KH MM LA MN UZ GE AM AZ AU CX NZ FJ EG MA DZ TN LY NG GH CI BJ SN CM KE TZ UG ET ZA ZW MZ AO GM GA LR RE YT GP MQ PF NC
CW SX GU AS""".split()

KINDS = {"fixed": Type.FIXED_LINE, "toll free": Type.TOLL_FREE, "premium": Type.PREMIUM_RATE, "shared": Type.SHARED_COST, "personal": Type.PERSONAL_NUMBER,
         "voip": Type.VOIP, "pager": Type.PAGER, "uan": Type.UAN, "voicemail": Type.VOICEMAIL}

# Spellings of the same subscriber that occur in practice: each group must become one number or be refused.
VARIANTS = [
    ["+5491123456789", "+54 11 15 2345-6789", "+54 (011) 15-2345-6789", "+54 11 2345 6789", "+5401115 23456789", "005491123456789"],
    ["+5492966443210", "+54 2966 15 443210", "+542966443210", "+54 9 2966 44-3210"],
    ["+5493514123456", "+54 351 15 412 3456", "+54 351 4123456"],
    ["+525512345678", "+5215512345678", "+52 1 55 1234 5678", "+52 044 55 1234 5678", "+52 045 55 1234 5678", "+52 01 55 1234 5678"],
    ["+523312345678", "+52 1 33 1234 5678", "0052 1 3312345678"],
    ["+447400123456", "+44 (0)7400 123456", "+4407400123456", "0044 7400 123456", "00 44 (0) 7400-123456", "+44.7400.123456"],
    ["+4915123456789", "+49 (0)1512/3456789", "+49 01512 3456789", "0049 1512 3456789"],
    ["+33612345678", "+33 6 12 34 56 78", "+33 (0)6 12 34 56 78", "0033612345678", "+33.6.12.34.56.78"],
    ["+393123456789", "+39 312 345 6789", "+39 (0)312 345 6789"],
    ["+5511961234567", "+55 (11) 96123-4567", "+55 011 96123-4567", "+55 (015 11) 96123-4567", "+55 21 11 961234567", "+55 11 6123-4567"],
    ["+79123456789", "+7 8 912 345-67-89", "+7 (912) 345-67-89"],
    ["+989123456789", "+98 912 345 6789", "00989123456789", "+98 0912 345 6789", "+98 (0)912-345-6789"],
    ["+14155552671", "+1 (415) 555-2671", "+1.415.555.2671", " +14155552671", "0014155552671", "+1 1 415 555 2671"],
    ["+36201234567", "+36 06 20 123 4567", "+36 20 123 4567"], ["+37060112345", "+370 8 601 12345", "+370 0 601 12345"], ["+375291234567", "+375 8029 1234567", "+375 29 123-45-67"],
    ["+573211234567", "+57 03 321 1234567", "+57 321 123 4567"], ["+819012345678", "+81 090-1234-5678", "+81 (0)90 1234 5678"], ["+821020000000", "+82 010-2000-0000", "+82 10 2000 0000"],
    ["+919876543210", "+91 98765 43210", "+91 0 98765 43210", "+91-98765-43210"], ["+61412345678", "+61 0412 345 678", "+61 (0)412 345 678"],
    ["+639051234567", "+63 0905 123 4567"], ["+628123456789", "+62 0812 3456 789"], ["+905012345678", "+90 0501 234 56 78"], ["+201001234567", "+20 0100 123 4567"],
    ["+27711234567", "+27 071 123 4567"], ["+972502345678", "+972 050-234-5678"], ["+971501234567", "+971 050 123 4567"], ["+8613812345678", "+86 138 1234 5678", "+86 0138 1234 5678"],
    ["+2250123456789", "+225 23456789", "+225 01 23 45 67 89"], ["+2290190011234", "+229 90 01 12 34"],
    ["+220873012345", "+2203012345", "+220833012345"], ["+2207712345", "+220877712345"], ["+2209912345", "+220 991 2345"],
    ["+24166031234", "+241 066 03 12 34", "+24106031234", "+2416031234"], ["+231886512345", "+2316512345"], ["+84912345678", "+84 0912 345 678", "+841612345678"],
    ["+966512345678", "+966 0512345678"], ["+9647912345678", "+964 0791 234 5678"], ["+380501234567", "+380 (050) 123-45-67", "+380 0501234567"],
]

REFUSED = ["", " ", "+", "00", "+1415CALLNOW", "+1415", "++14155552671", "+1+4155552671", "tel:+14155552671", "+14155552671;ext=5", "+14155552671 x5", "+14155552671,,12", "4155552671",
    "09123456789", "+14155552671415555267", "+14155552671\r\n", "+1 (415)     555    -    2671    ", "+dwPAA;phone-context=AA", "+1202555012a", "+1415\u202e5552671",
    "+1415\u200b5552671", "+1415\u00005552671", "+1415\u00a05552671", "+1415\u20135552671", "+1415\u00ad5552671", "+\u06f9\u06f8\u06f9\u06f1\u06f2\u06f3\u06f4\u06f5\u06f6\u06f7\u06f8\u06f9",
    "\uff0b14155552671", "+\uff11\uff14\uff11\uff15\uff15\uff15\uff15\uff12\uff16\uff17\uff11", "(+44) 7400 123456", "+44\t7400123456", "+0989123456789", "+000447400123456", "1" * 33, "+15550100001",
    "+447700900123", "+262639123456", "+358184571234567", "+210123456789", "+999123456789"]

COSTLY = ["+881612345678", "+88216123456", "+88312345", "+883510012345678", "+870773111632", "+888123456789", "+979123456789", "+80012345678", "+80812345678", "+19002345678",
    "+18002345678", "+447012345678", "+449098790000", "+447640123456", "+441212345678", "+448081570000", "+445612345678", "+445512345678", "+443012345678", "+4930123456",
    "+390612345678", "+39066981234", "+3545811234", "+41860781234567", "+33123456789", "+33891234567", "+4915113234567"]

# Numbers in national format and the configured region.
NATIONAL = [("IR", w) for w in ("09123456789", "0912 345 6789", "9123456789", "+98 912 345 6789", "00989123456789", "989123456789", "+14155552671", "02112345678")] + [
    ("GB", "07400 123456"), ("GB", "(07400) 123-456"), ("GB", "07012345678"), ("US", "(415) 555-2671"), ("US", "415.555.2671"), ("US", "1 415 555 2671"), ("US", "011 44 7400 123456"),
    ("AR", "011 15-2345-6789"), ("AR", "11 2345-6789"), ("MX", "55 1234 5678"), ("MX", "044 55 1234 5678"), ("MX", "1 55 1234 5678"), ("BR", "(11) 96123-4567"), ("BR", "0 15 11 96123-4567"),
    ("DE", "01512/3456789"), ("FR", "06 12 34 56 78"), ("IT", "312 345 6789"), ("RU", "8 (912) 345-67-89"), ("JP", "090-1234-5678"), ("IN", "098765 43210"), ("AU", "0412 345 678"),
    ("US", "911"), ("GB", "999"), ("DE", "110")]


def fold(number):
    """Returns the permanent form of the subscriber's number, or None if the number is retired."""
    national = pn.national_significant_number(number)
    code = number.country_code
    if code == 52:
        found = re.fullmatch(r"(?:044|045|01|1)(\d{10})", national)
        if found:
            return pn.parse("+52" + found[1])
    if code == 54 and pn.number_type(number) == Type.FIXED_LINE:
        mobile = pn.parse("+549" + national)
        if pn.number_type(mobile) == Type.MOBILE:
            return mobile
    if code == 220:
        for operator, pattern in (("87", r"[27]\d{6}|4[01]\d{5}"), ("83", r"3\d{6}|5[0-389]\d{5}"), ("86", r"6\d{6}")):
            if re.fullmatch(pattern, national):
                moved = pn.parse("+220" + operator + national)
                return moved if pn.number_type(moved) == Type.MOBILE else number
    if code == 231 and re.fullmatch(r"\d{7}", national) or code == 241 and re.fullmatch(r"\d{7}|0[02-9]\d*", national):
        return None
    return number


def judge(writing, default=None):
    """Returns (E.164 or refusal, region)."""
    if len(writing.encode()) > 32 or not writing.isascii() or not PLAIN.fullmatch(writing):
        return "invalid", ""
    digits = re.sub(r"\D", "", writing)
    if writing.lstrip(" ").startswith("+"):
        digits = "+" + digits
    elif digits.startswith("00"):
        digits = "+" + digits[2:]
    elif default is None:
        return "invalid", ""
    try:
        number = pn.parse(digits, default)
    except pn.NumberParseException:
        return "invalid", ""
    e164 = pn.format_number(number, Form.E164)
    if not re.fullmatch(r"\+\d{7,15}", e164):
        return "invalid", ""
    number = fold(number)
    if number is None or pn.region_code_for_country_code(number.country_code) == "001":
        return "not_supported", ""
    if not pn.is_valid_number(number):
        return "invalid", ""
    if pn.number_type(number) not in (Type.MOBILE, Type.FIXED_LINE_OR_MOBILE):
        return "not_supported", ""
    return pn.format_number(number, Form.E164), pn.region_code_for_number(number)


def writings():
    for group in VARIANTS:
        yield from ((w, None) for w in group)
    yield from ((w, None) for w in REFUSED + COSTLY)
    yield from ((w, region) for region, w in NATIONAL)
    for region in REGIONS:
        number = pn.example_number_for_type(region, Type.MOBILE)
        code, national = number.country_code, pn.national_significant_number(number)
        yield from ((f"+{code}{national}", None), (f"00{code} {national}", None), (f"+{code} (0){national}", None), (pn.format_number(number, Form.INTERNATIONAL), None))
        home = pn.format_number(number, Form.NATIONAL)
        yield home, region
        yield home, None
        for kind in KINDS.values():
            other = pn.example_number_for_type(region, kind)
            if other:
                yield pn.format_number(other, Form.E164), None
    # Random digits after the calling code: most are not a number, and both implementations must agree.
    dice = random.Random(20_260_101)
    for region in REGIONS:
        number = pn.example_number_for_type(region, Type.MOBILE)
        national = pn.national_significant_number(number)
        for keep in (1, 2, 3):
            tail = "".join(dice.choices("0123456789", k=len(national) - keep))
            yield f"+{number.country_code}{national[:keep]}{tail}", None


def main():
    rows = {}
    for writing, default in writings():
        rows.setdefault((default or "", writing), judge(writing, default))
    lines = [f"# expected,region,default region,writing (a JSON string). Made by tools/phones-golden from phonenumbers {pn.__version__}."]
    lines += [f"{expected},{region},{default},{json.dumps(writing)}" for (default, writing), (expected, region) in rows.items()]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    good = {region for _, region in rows.values() if region}
    print(f"{len(rows)} inputs, {len(good)} regions accepted")
    for group in VARIANTS:
        became = {judge(w)[0] for w in group}
        assert len({b for b in became if b.startswith("+")}) <= 1, f"two keys for one subscriber: {group} {became}"


if __name__ == "__main__":
    main()
