CREATE TABLE notices (id integer PRIMARY KEY, body text NOT NULL);
INSERT INTO notices VALUES (42, 'lifeboat-row-42');
GRANT SELECT ON notices TO webapp;
