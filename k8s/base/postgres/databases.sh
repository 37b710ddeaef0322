#!/usr/bin/env bash
# The roles and their databases. A role opens its own alone: users' training code knows the password of "search", and must not
# read owners and tokens with it. Run by the image on an empty volume; for a server elsewhere, by a person (README.md). It may run again.
set -euo pipefail

database() { # ROLE DATABASE PASSWORD
    psql --no-psqlrc --set ON_ERROR_STOP=1 --set role="$1" --set database="$2" --set password="$3" \
        --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" PASSWORD :'password';
GRANT :"role" TO CURRENT_USER;
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'role')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
}

database service service "$SERVICE_PASSWORD"
database search search "$SEARCH_PASSWORD"
database mlflow mlflow "$MLFLOW_DB_PASSWORD"
database mlflow mlflow_auth "$MLFLOW_DB_PASSWORD"
