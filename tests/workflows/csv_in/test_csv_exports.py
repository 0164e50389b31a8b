"""What HubSpot, Salesforce, Apollo, Sales Navigator's exporters, LinkedIn and Excel write is read without help."""

import codecs
import csv
import io
from dataclasses import dataclass, field

import pytest

from workflows.csv_in import inspect, read_rows

LINK = "https://www.linkedin.com/in/jerome-muller"
ENCODINGS = (
    "utf-8",
    "utf-8-sig",
    "utf-16-le",
    "utf-16-be",
    "utf-16-le without mark",
    "utf-16-be without mark",
    "cp1252",
)
DELIMITERS = (",", ";", "\t", "|")
LINE_ENDS = ("\r\n", "\n", "\r")

# All can be written in Windows-1252. Two have what breaks careless readers: line breaks, quotes, separators.
JEROME = {
    "first": "Jérôme",
    "last": "Müller",
    "company": "Bäcker; Söhne, GmbH",
    "site": "https://www.baecker.example/",
}
ADA = {"first": "Ada", "last": "O'Neill-García", "company": 'The "Engine" Co', "site": "engine.example"}
PEOPLE = (JEROME, ADA)


@dataclass(frozen=True)
class Export:
    """An export of one tool: `columns` are headings with a template for their cells."""

    name: str
    columns: dict[str, str]
    mapping: dict[str, str]
    above: list[list[str]] = field(default_factory=list)

    def rows(self) -> list[list[str]]:
        return [[cell.format(**person) for cell in self.columns.values()] for person in PEOPLE]


FIRST_LAST = {"first_name": "First Name", "last_name": "Last Name"}
EXPORTS = [
    Export(
        "HubSpot",
        {
            "Record ID": "20410001207",
            "First Name": "{first}",
            "Last Name": "{last}",
            "Email": "",
            "Phone Number": "",
            "Contact owner": "Tamsin Okoro",
            "Last Activity Date (EDT)": "2024-01-09 14:27",
            "Lead Status": "New",
            "Associated Company": "{company} (baecker.example)",
            "Associated Company IDs": "9123",
            "Job Title": "Head of Growth",
            "Company Name": "{company}",
            "Website URL": "{site}",
            "LinkedIn URL": LINK,
            "Message": "Line one\nline two, with a comma",
        },
        FIRST_LAST | {"company": "Company Name", "domain": "Website URL", "linkedin_url": "LinkedIn URL"},
    ),
    Export(
        "HubSpot with the company's domain",
        {
            "First Name": "{first}",
            "Last Name": "{last}",
            "Company Domain Name": "{site}",
            "Website URL": "",
            "Associated Company": "{company}",
        },
        FIRST_LAST | {"company": "Associated Company", "domain": "Company Domain Name"},
    ),
    Export(
        "Salesforce report",
        {
            "Salutation": "",
            "First Name": "{first}",
            "Last Name": "{last}",
            "Title": "CTO",
            "Account Name": "{company}",
            "Mailing Street": "1 High Street\nFlat 2",
            "Mailing City": "Ulm",
            "Email": "",
            "Account: Website": "{site}",
            "Contact ID": "003xx000004TmiQ",
        },
        FIRST_LAST | {"company": "Account Name", "domain": "Account: Website"},
        above=[["Contacts & Accounts Report"], ["As of 2024-03-01, by Tamsin Okoro"], []],
    ),
    Export(
        "Salesforce data loader",
        {
            "ID": "003xx",
            "FIRSTNAME": "{first}",
            "LASTNAME": "{last}",
            "ACCOUNT.NAME": "{company}",
            "ACCOUNT.WEBSITE": "{site}",
        },
        {"first_name": "FIRSTNAME", "last_name": "LASTNAME", "company": "ACCOUNT.NAME", "domain": "ACCOUNT.WEBSITE"},
    ),
    Export(
        "Apollo",
        {
            "First Name": "{first}",
            "Last Name": "{last}",
            "Title": "CTO",
            "Company": "{company}",
            "Company Name for Emails": "Short",
            "Email": "ada@engine.example",
            "Email Status": "Verified",
            "# Employees": "120",
            "Industry": "bakery",
            "Keywords": "bread, rolls; cake",
            "Person Linkedin Url": LINK,
            "Website": "{site}",
            "Company Linkedin Url": "http://www.linkedin.com/company/baecker",
            "Facebook Url": "https://facebook.com/baecker",
            "Twitter Url": "",
            "Company Address": "1 High Street, Ulm",
        },
        FIRST_LAST | {"company": "Company", "domain": "Website", "linkedin_url": "Person Linkedin Url"},
    ),
    Export(
        "Sales Navigator exporter, in camel case",
        {
            "profileUrl": "https://www.linkedin.com/sales/lead/ACwAAAbCdEf,NAME_SEARCH,x1",
            "fullName": "{first} {last}",
            "firstName": "{first}",
            "lastName": "{last}",
            "companyName": "{company}",
            "title": "CTO",
            "companyUrl": "https://www.linkedin.com/sales/company/1234",
            "regularCompanyUrl": "https://www.linkedin.com/company/1234",
            "linkedInProfileUrl": "https://www.linkedin.com/in/ACwAAAbCdEfGhIjK",
            "isPremium": "false",
        },
        {
            "first_name": "firstName",
            "last_name": "lastName",
            "full_name": "fullName",
            "company": "companyName",
            "linkedin_url": "linkedInProfileUrl",
        },
    ),
    Export(
        "Sales Navigator exporter, in words",
        {
            "First Name": "{first}",
            "Last Name": "{last}",
            "Current Job": "CTO",
            "Company Name": "{company}",
            "Company Domain": "{site}",
            "Company Linkedin URL": "https://www.linkedin.com/company/1234",
            "Prospect Sales Navigator URL": "https://www.linkedin.com/sales/lead/x",
            "Linkedin URL Unique ID": "https://www.linkedin.com/in/ACwAAAbCdEfGhIjK",
            "Linkedin URL Public": LINK,
        },
        FIRST_LAST | {"company": "Company Name", "domain": "Company Domain", "linkedin_url": "Linkedin URL Public"},
    ),
    Export(
        "LinkedIn connections",
        {
            "First Name": "{first}",
            "Last Name": "{last}",
            "URL": LINK,
            "Email Address": "",
            "Company": "{company}",
            "Position": "CTO",
            "Connected On": "01 Mar 2024",
        },
        FIRST_LAST | {"company": "Company", "linkedin_url": "URL"},
        above=[["Notes:"], ['When exporting your connection data, you may notice "blanks", as settings allow.'], []],
    ),
    Export(
        "Excel by hand",
        {"": "1", "Name": "{last}, {first}", "Firma": "{company}", "Web": "{site}", "Bemerkung": "", " ": ""},
        {"full_name": "Name", "company": "Firma", "domain": "Web"},
    ),
]  # fmt: skip


def written(export: Export, encoding: str, delimiter: str, line_end: str) -> bytes:
    out = io.StringIO(newline="")
    # Python's writer quotes a line feed only where lines end with one.
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end)
    if line_end == "\r":
        writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([*export.above, list(export.columns), *export.rows()])
    codec = encoding.removesuffix(" without mark")
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    return mark + out.getvalue().encode(codec)


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["CRLF", "LF", "CR"])
@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.name)
def test_an_export_is_read_without_help(export, encoding, delimiter, line_end):
    stream = io.BytesIO(written(export, encoding, delimiter, line_end))
    found = inspect(stream, filename="contacts.csv")
    assert found.encoding == encoding.removesuffix(" without mark").removesuffix("-sig")
    assert found.delimiter == delimiter
    assert found.guessed_mapping == export.mapping
    assert (found.rows, found.errors, found.blank_lines) == (2, [], 0)
    assert [list(row.values()) for row in found.sample] == export.rows()
    rows = list(read_rows(stream, found.dialect, found.guessed_mapping))
    assert [row.position for row in rows] == [0, 1]
    for row, person in zip(rows, PEOPLE, strict=True):
        assert row.faults == []
        if "full_name" in row.values:
            assert row.values["full_name"] == "{first} {last}".format(**person)
        else:
            assert (row.values["first_name"], row.values["last_name"]) == (person["first"], person["last"])
        assert row.values["company"] == person["company"]
        extra = {column for column in found.columns if column not in export.mapping.values()}
        assert extra <= row.values.keys()


@pytest.mark.parametrize(
    ("headings", "mapping"),
    [
        ("Vorname;Nachname;Firmenname;Webseite;LinkedIn-Profil", "first_name last_name company domain linkedin_url"),
        ("Anrede;Vorname;Name;Unternehmen;Internetseite", "- first_name last_name company domain"),
        ("Vollständiger Name;Arbeitgeber;Domäne", "full_name company domain"),
        ("Prénom;Nom;Société;Site web;Profil LinkedIn", "first_name last_name company domain linkedin_url"),
        ("Nom de famille;Prénom;Entreprise;Poste", "last_name first_name company -"),
        ("Nom;Nom de l’entreprise;Domaine", "full_name company domain"),
        ("Nombre;Apellidos;Empresa;Sitio web;Perfil de LinkedIn", "first_name last_name company domain linkedin_url"),
        ("Nombre completo;Compañía;Página web", "full_name company domain"),
        ("Voornaam;Achternaam;Bedrijfsnaam;Domein;LinkedIn-profiel", "first_name last_name company domain linkedin_url"),
        ("Naam;Organisatie", "full_name company"),
        ("Nome;Sobrenome;Nome da empresa;Site;Perfil do LinkedIn", "first_name last_name company domain linkedin_url"),
        ("Nome completo;Empresa;Domínio", "full_name company domain"),
        ("Nome;Cognome;Azienda;Sito web;Profilo LinkedIn", "first_name last_name company domain linkedin_url"),
        ("Nome e cognome;Ragione sociale", "full_name company"),
        ("first_name;last_name;company;domain;linkedin_url", "first_name last_name company domain linkedin_url"),
        ("Contact: First Name;Contact: Last Name;Account Name", "first_name last_name company"),
        ("Name;Job Title;Company;Company Website", "full_name - company domain"),
        ("Name;First Name;Company", "last_name first_name company"),
        ("Contact;Organization Name;Homepage", "full_name company domain"),
        ("Full Name;Company Name for Emails", "full_name company"),
    ],
)  # fmt: skip
def test_headings_of_each_language_are_known(headings, mapping):
    fields = mapping.split()
    cells = {"domain": "acme.example", "linkedin_url": LINK}
    row = ";".join(cells.get(field, "Words") for field in fields)
    found = inspect(io.BytesIO(f"{headings}\n{row}\n".encode()), filename="x.csv")
    expected = {
        field: heading for field, heading in zip(fields, headings.split(";"), strict=True) if field != "-"
    }
    assert found.guessed_mapping == expected


@pytest.mark.parametrize(
    "heading", ["E-Mail", "email", "Work Email", "Adresse e-mail", "Correo electrónico", "Adres"]
)
def test_the_address_is_the_field_of_verification_and_an_extra_column_of_the_waterfall(heading):
    data = f"Name,Company,{heading}\nAda,Acme,ada@acme.example\n".encode()
    assert inspect(io.BytesIO(data), filename="x.csv", template="email-verify").guessed_mapping == {
        "email": heading
    }
    found = inspect(io.BytesIO(data), filename="x.csv")
    assert found.guessed_mapping == {"full_name": "Name", "company": "Company"}
    row = next(read_rows(io.BytesIO(data), found.dialect, found.guessed_mapping))
    assert row.values[heading] == "ada@acme.example"


def test_values_decide_where_headings_do_not():
    data = (
        "Name,Company,LinkedIn,Social,URL\n"
        f"Ada,Acme,yes,{LINK},https://acme.example\n"
        f"Bob,Brown & Co,no,{LINK}-2,https://brown.example\n"
    ).encode()
    mapping = inspect(io.BytesIO(data), filename="x.csv").guessed_mapping
    assert (mapping["linkedin_url"], mapping["domain"]) == ("Social", "URL")


def test_a_website_column_full_of_linkedin_pages_is_no_domain():
    data = b"Name,Company,Website\nAda,Acme,https://www.linkedin.com/company/acme\n"
    assert "domain" not in inspect(io.BytesIO(data), filename="x.csv").guessed_mapping


def test_excels_sep_line_is_obeyed():
    for line in ("sep=;", '"sep=;"', "SEP=;"):
        data = f"{line}\r\nName;Company\r\nLovelace, Ada;Acme\r\n".encode("utf-16")
        stream = io.BytesIO(data)
        found = inspect(stream, filename="x.csv")
        assert (found.delimiter, found.columns, found.dialect.header_line) == (";", ["Name", "Company"], 2)
        row = next(read_rows(stream, found.dialect, found.guessed_mapping))
        assert (row.line, row.values["full_name"]) == (3, "Ada Lovelace")


def test_a_separator_nobody_would_guess_is_taken_from_the_sep_line():
    found = inspect(io.BytesIO(b"sep=^\nName^Company\nAda^Acme\n"), filename="x.csv")
    assert found.columns == ["Name", "Company"]


def test_headings_are_made_unique_and_blank_ones_named():
    data = b"Email,Name,,Email,Email (2), Company\nx,Ada,1,y,z,Acme\n"
    found = inspect(io.BytesIO(data), filename="x.csv")
    assert found.columns == ["Email", "Name", "Column 3", "Email (3)", "Email (2)", "Company"]
    row = next(read_rows(io.BytesIO(data), found.dialect, found.guessed_mapping))
    assert row.values == {
        "full_name": "Ada", "company": "Acme", "Email": "x", "Email (3)": "y", "Email (2)": "z", "Column 3": "1",
    }  # fmt: skip


def test_a_space_after_the_separator_does_not_undo_quotes():
    data = b'Name, Company, City\n"Lovelace, Ada", "Acme, Inc", Ulm\n"Brown, Bob", "Brown, Ltd", Jena\n'
    stream = io.BytesIO(data)
    found = inspect(stream, filename="x.csv")
    rows = list(read_rows(stream, found.dialect, found.guessed_mapping))
    assert [row.values for row in rows] == [
        {"full_name": "Ada Lovelace", "company": "Acme, Inc", "City": "Ulm"},
        {"full_name": "Bob Brown", "company": "Brown, Ltd", "City": "Jena"},
    ]


def test_a_column_named_like_a_field_but_not_chosen_for_it_is_not_the_field():
    data = b"Name,Company,domain,Website\nAda,Acme,rubbish,acme.example\n"
    stream = io.BytesIO(data)
    found = inspect(stream, filename="x.csv")
    mapping = {"full_name": "Name", "company": "Company", "domain": "Website"}
    row = next(read_rows(stream, found.dialect, mapping))
    assert row.values == {
        "full_name": "Ada",
        "company": "Acme",
        "domain": "acme.example",
        "domain (2)": "rubbish",
    }
    row = next(read_rows(stream, found.dialect, {"full_name": "Name", "company": "Company"}))
    assert row.values["domain (2)"] == "rubbish"
    assert "domain" not in row.values


def test_text_in_other_scripts_is_not_taken_for_another_encoding():
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        stream = io.BytesIO("Name,Company\nЛев Толстой,Ясная Поляна\n紫式部,源氏物語\n".encode(encoding))
        found = inspect(stream, filename="x.csv")
        assert [row.values["full_name"] for row in read_rows(stream, found.dialect, found.guessed_mapping)] == [
            "Лев Толстой", "紫式部",
        ]  # fmt: skip
