"""What the columns of contact exports are called, in the tools and languages that people bring them from.

Headings are compared in a plain form: small letters, no accents, words parted by single spaces. Within a
field, what stands first is preferred.
"""

import re
import unicodedata
from functools import lru_cache


def _names(text: str) -> tuple[str, ...]:
    return tuple(" ".join(name.split()) for name in text.split(","))


# HubSpot, Salesforce, Apollo, exporters for Sales Navigator, Excel by hand; then German, French, Spanish,
# Dutch, Portuguese, Italian.
KNOWN: dict[str, tuple[str, ...]] = {
    "first_name": _names("""
        first name, firstname, given name, givenname, forename, first, fname, vorname, prenom, nombres,
        primer nombre, nombre de pila, voornaam, roepnaam, primeiro nome, nome proprio, nome di battesimo
    """),
    "last_name": _names("""
        last name, lastname, surname, family name, familyname, last, lname, nachname, familienname,
        zuname, nom de famille, nom famille, apellidos, apellido, primer apellido, achternaam,
        familienaam, sobrenome, apelido, ultimo nome, cognome
    """),
    "full_name": _names("""
        full name, fullname, contact name, person name, lead name, prospect name, display name, contact
        full name, name and surname, vollstandiger name, vor und nachname, vorname nachname, kontaktname,
        ansprechpartner, nom complet, nom et prenom, prenom et nom, prenom nom, nom du contact, nombre
        completo, nombre y apellidos, nombre y apellido, nombre del contacto, volledige naam,
        contactpersoon, nome completo, nome e cognome, nome do contato, nome del contatto, nominativo
    """),
    "company": _names("""
        company, company name, account name, account, organization name, organisation name, organization,
        organisation, current company, current company name, employer, business name, primary company,
        associated company, company name for emails, business, workplace, firma, firmenname, unternehmen,
        unternehmensname, name des unternehmens, arbeitgeber, entreprise, societe, nom de l entreprise,
        nom entreprise, nom de la societe, raison sociale, employeur, empresa, nombre de la empresa,
        nombre empresa, compania, razon social, organizacion, bedrijf, bedrijfsnaam, naam bedrijf,
        organisatie, werkgever, nome da empresa, companhia, razao social, organizacao, azienda, nome
        azienda, nome dell azienda, nome della societa, societa, ragione sociale, organizzazione
    """),
    "domain": _names("""
        company domain name, company domain, domain, domain name, company website, website, website url,
        company website url, account website, web site, company url, corporate website, organization
        website, website domain, email domain, homepage, home page, web, www, site, webseite,
        internetseite, webadresse, unternehmenswebsite, firmenwebsite, domane, site web, site internet,
        siteweb, domaine, nom de domaine, site de l entreprise, sitio web, pagina web, dominio, dominio de
        la empresa, url del sitio web, bedrijfswebsite, domein, domeinnaam, website bedrijf, pagina da
        web, site da empresa, nome de dominio, sito web, sito, sito internet, sito aziendale, dominio
        aziendale, url
    """),
    "linkedin_url": _names("""
        person linkedin url, linkedin url public, public linkedin url, linkedin profile url, linkedin in
        profile url, default profile url, linkedin url, linkedin profile, linkedin link, linkedin,
        linkedin public url, contact linkedin url, prospect linkedin url, lead linkedin url, linkedin
        profil url, linkedin profil, profil linkedin, url profil linkedin, url linkedin, perfil de
        linkedin, perfil linkedin, url de linkedin, linkedin profiel, perfil do linkedin, profilo
        linkedin, li url, linkedin member profile, profile url, profile link, profile, url
    """),
    "email": _names("""
        email, e mail, email address, e mail address, work email, business email, primary email, email 1,
        email 1 value, contact email, mail, mail address, emailaddress, e mail adresse, email adresse,
        mailadresse, geschaftliche e mail, adresse e mail, adresse email, adresse electronique, courriel,
        correo electronico, correo, direccion de correo, direccion de correo electronico, e mailadres,
        emailadres, mailadres, endereco de email, endereco de e mail, correio eletronico, indirizzo email,
        indirizzo e mail, posta elettronica
    """),
}

# One word for the whole name, the first or the last, depending on what else the file has.
PLAIN_NAME = _names("name, naam, nom, nome, nombre, contact, kontakt, contacto, contatto, contato, person")

# Other usual columns: they fill no field, but show that a line is one of headings.
OTHER = frozenset(
    _names("""
    job title, title, position, role, seniority, departments, department, city, state, country, country
    region, region, industry, phone, phone number, mobile, mobile phone, lead status, lead source,
    lifecycle stage, record id, contact id, account id, id, salutation, notes, create date, created,
    contact owner, owner, keywords, employees, connected on, location, street, zip, postal code, mailing
    city, mailing country, status, stage, tags, source, stadt, ort, land, plz, strasse, telefon, anrede,
    funktion, ville, pays, telephone, poste, fonction, ciudad, pais, telefono, cargo, puesto, plaats,
    telefoon, functie, cidade, telefone, citta, paese, ruolo, nazione
""")
)

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NOT_WORD = re.compile(r"[\W_]+")
_LINKEDIN_IN_TWO = re.compile(r"\blinked in\b")
_OWNER = re.compile(r"^(?:contact|lead|person|prospect|kontakt|contacto|contatto|contato|hs|your) (?=.)")
_RANK = {field: {heading: rank for rank, heading in enumerate(known)} for field, known in KNOWN.items()}
# With one of these words beside "LinkedIn" it is not the person's own link, or not a heading at all.
NOT_THE_PERSONS_LINKEDIN = frozenset(
    _names("""
    company, account, organization, organisation, business, employer, firma, firmen, unternehmen,
    unternehmens, entreprise, societe, empresa, bedrijf, bedrijfs, azienda, aziendale, societa, companies,
    sales, navigator, recruiter, id, ids, connections, followers, headline, summary, industry, status,
    message, note, notes, bio, groups, https, http, com, www
""")
)


@lru_cache(maxsize=4096)
def plain(heading: str) -> str:
    """`Prénom`, `FirstName` and `first_name:` as they are compared: `prenom`, `first name`, `first name`."""
    letters = unicodedata.normalize("NFKD", _CAMEL.sub(" ", heading).casefold())
    letters = "".join(char for char in letters if not unicodedata.combining(char))
    return _LINKEDIN_IN_TWO.sub("linkedin", _NOT_WORD.sub(" ", letters).strip())


def rank(field: str, heading: str) -> int | None:
    """How good a name for this field the heading is, 0 the best; None if it is not one at all."""
    ranks = _RANK[field]
    text = plain(heading)
    if field == "linkedin_url" and text not in ranks:
        return len(ranks) if _names_a_linkedin_link(text) else None
    if text in ranks:
        return ranks[text]
    bare = _OWNER.sub("", text)
    return ranks[bare] + 1 if bare in ranks and field != "company" else None


def is_plain_name(heading: str) -> bool:
    return plain(heading) in PLAIN_NAME


def is_known(heading: str) -> bool:
    """Whether this is a usual heading of any column in an export of contacts."""
    text = plain(heading)
    return text in OTHER or is_plain_name(heading) or any(rank(field, heading) is not None for field in KNOWN)


def _names_a_linkedin_link(text: str) -> bool:
    words = set(text.split())
    return "linkedin" in words and not words & NOT_THE_PERSONS_LINKEDIN
