"""The queries of `tenants/catalogue.py`. `{name}`, `{ours}` and `{only}` are filled in there."""

OURS = """n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%%'
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
                    AND d.classid = c.tableoid)"""

# The name of a table, with its schema where that is not public.
NAME = "concat(nullif(n.nspname, 'public') || '.', c.relname)"

# By id, which the catalogue has indexes for; a name that is not there finds nothing.
ONLY = "c.oid = ANY (ARRAY(SELECT to_regclass(wanted) FROM unnest(%s::text[]) wanted))"

RELATIONS = """
    SELECT {name}, n.nspname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
           pg_get_userbyid(c.relowner),
           coalesce(c.reloptions::text[] && '{{security_invoker=true,security_invoker=on,security_invoker=1}}', false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {ours} AND {only}
    ORDER BY n.nspname <> 'public', n.nspname, c.relname"""

POLICIES = """
    SELECT {name}, p.polname, p.polcmd::text, p.polpermissive,
           ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC') FROM unnest(p.polroles) g LEFT JOIN pg_roles r ON r.oid = g),
           pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {ours} AND {only} ORDER BY 1, 2"""

GRANTS = """
    SELECT {name}, coalesce(r.rolname, 'PUBLIC'), a.privilege_type, a.is_grantable, NULL
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> c.relowner AND {ours} AND {only}
    UNION ALL
    SELECT {name}, coalesce(r.rolname, 'PUBLIC'), a.privilege_type, a.is_grantable, t.attname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute t ON t.attrelid = c.oid AND NOT t.attisdropped, aclexplode(t.attacl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> c.relowner AND {ours} AND {only}"""

# conenforced is PostgreSQL 18's: read as JSON, so that older servers answer too.
FOREIGN_KEYS = """
    SELECT {name}, k.conname, t.relname, k.confdeltype::text, k.confupdtype::text,
           ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY o),
           ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
                 JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY o),
           ARRAY(SELECT a.attname::text FROM unnest(k.confdelsetcols) u(n)
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n),
           k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
           AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O')
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class t ON t.oid = k.confrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND {ours} AND {only} ORDER BY 1, 2"""

UNIQUES = """
    SELECT {name}, x.relname, i.indisprimary, i.indpred IS NOT NULL, i.indisvalid AND i.indisready,
           ARRAY(SELECT coalesce(a.attname::text, '(expression)')
                 FROM unnest(i.indkey::int2[]) WITH ORDINALITY u(n, o)
                 LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.n
                 WHERE o <= i.indnkeyatts ORDER BY o)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE (i.indisunique OR i.indisexclusion) AND NOT c.relispartition AND {ours} AND {only}
    ORDER BY 1, 2"""

COLUMNS = """
    SELECT {name}, a.attname, a.attnotnull, format_type(a.atttypid, a.atttypmod), pg_get_expr(f.adbin, c.oid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND {ours} AND {only}
    ORDER BY 1, a.attnum"""

FUNCTIONS = """
    SELECT n.nspname, c.proname, c.oid::regprocedure::text, oidvectortypes(c.proargtypes), c.prosecdef,
           c.proleakproof, pg_get_userbyid(c.proowner), c.prosrc, coalesce(c.proconfig, '{{}}'),
           ARRAY(SELECT coalesce(r.rolname::text, 'PUBLIC')
                 FROM aclexplode(coalesce(c.proacl, acldefault('f', c.proowner))) a
                 LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> c.proowner)
    FROM pg_proc c JOIN pg_namespace n ON n.oid = c.pronamespace WHERE {ours} ORDER BY 1, 2"""

CREATORS = """
    SELECT n.nspname, coalesce(r.rolname, 'PUBLIC') FROM pg_namespace n, aclexplode(n.nspacl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner AND n.nspname NOT LIKE 'pg\\_%%'
    UNION ALL
    SELECT 'temporary tables', coalesce(r.rolname, 'PUBLIC') FROM pg_database d,
           aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE d.datname = current_database() AND a.privilege_type IN ('CREATE', 'TEMPORARY') AND a.grantee <> d.datdba"""

DEFAULTS = """
    SELECT DISTINCT pg_get_userbyid(d.defaclrole), coalesce(r.rolname, 'PUBLIC')
    FROM pg_default_acl d, aclexplode(d.defaclacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> d.defaclrole"""

USERS = """
    SELECT n.nspname, coalesce(r.rolname, 'PUBLIC') FROM pg_namespace n, aclexplode(n.nspacl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE n.nspname = %s AND a.privilege_type = 'USAGE' AND a.grantee <> n.nspowner ORDER BY 1, 2"""

PARAMETERS = """
    SELECT p.parname, coalesce(r.rolname, 'PUBLIC') FROM pg_parameter_acl p, aclexplode(p.paracl) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee = 0 OR r.rolname = ANY(%s) ORDER BY 1, 2"""

# What sessions begin with, by login ('everybody' for a default of the database or of the server).
SESSION_DEFAULTS = """
    SELECT DISTINCT split_part(setting, '=', 1), coalesce(r.rolname, 'everybody')
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting LEFT JOIN pg_roles r ON r.oid = s.setrole
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
      AND (s.setrole = 0 OR r.rolname = ANY(%s)) ORDER BY 1, 2"""

EVENT_TRIGGERS = """
    SELECT e.evtname FROM pg_event_trigger e
    WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = e.oid AND d.deptype = 'e'
                      AND d.classid = 'pg_event_trigger'::regclass) ORDER BY 1"""

# PostgreSQL has no list of what was leakproof when it came: what its indexes compare with, and these. Read off 18, which
# has all that older ones have; a later one is not judged.
LEAKPROOF = r"""
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.proleakproof AND p.pronamespace = 'pg_catalog'::regnamespace
      AND current_setting('server_version_num')::int < 190000
      AND p.proname !~ ('^((circle|lseg)_(eq|ge|gt|le|lt|ne)|(bpchar|bytea|text)_(larger|smaller)|xideqint4|xidneqint4'
          '|xidneq'
          '|(bit|bool|bpchar|bytea|cash_|char|date_|float[0-9]+|int[0-9]+|interval_|macaddr8?_|name|oid|oidvector|pg_lsn_'
          '|text|tid|time_|timestamp_|timestamptz_|timetz_|uuid_|varbit|xid8)ne|namenetext|textnename'
          '|bool|bytea|crc32c?|float[48]|int[48]|interval|macaddr8|md5|name|numeric|sha[0-9]+|text|varchar'
          '|uuid_extract_(timestamp|version))$')
      AND NOT EXISTS (SELECT 1 FROM pg_amproc a WHERE a.amproc = p.oid)
      AND NOT EXISTS (SELECT 1 FROM pg_amop a JOIN pg_operator o ON o.oid = a.amopopr WHERE o.oprcode = p.oid)
    ORDER BY 1"""

WRITERS = """
    SELECT p.proname, coalesce(r.rolname, 'PUBLIC')
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY(%s) AND r.rolname = ANY(%s) ORDER BY 1, 2"""

RULES = """
    SELECT {name}, w.rulename FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE w.rulename <> '_RETURN' AND {ours} AND {only}"""

TRIGGERS = """
    SELECT {name}, g.tgname, pg_get_triggerdef(g.oid), f.prosrc, g.tgenabled = 'O'
    FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid JOIN pg_proc f ON f.oid = g.tgfoid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT g.tgisinternal AND {ours} AND {only} ORDER BY 1, 2"""

# What holds for a login's sessions in this database: its own settings, or what the server has.
SHOWN = """
    SELECT r.rolname, coalesce(
        (SELECT split_part(setting, '=', 2) FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) setting
         WHERE s.setrole = r.oid AND split_part(setting, '=', 1) = 'track_activities'
           AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
         ORDER BY s.setdatabase DESC LIMIT 1),
        (SELECT reset_val FROM pg_settings WHERE name = 'track_activities')) <> 'off'
    FROM pg_roles r WHERE r.rolname = ANY(%s)"""

ROLES = "SELECT rolname, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = ANY(%s)"

MEMBERS = """
    SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members
    WHERE pg_get_userbyid(member) = ANY(%s)"""
