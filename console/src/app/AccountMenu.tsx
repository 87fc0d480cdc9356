import { Dropdown, DropdownGroup, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router-dom";

import { access } from "../api/access";
import { plain } from "../words/plain";
import { useMe } from "./Me";
import { type Choice, choose, chosen } from "./theme";

const THEMES: [Choice, string][] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function AccountMenu() {
  const me = useMe();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [open, setOpen] = useState(false);
  const [theme, setTheme] = useState<Choice>(chosen);

  const logOut = async () => {
    await access.logout().catch(() => undefined);
    client.clear();
    navigate("/");
    window.location.reload();
  };

  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      popperProps={{ position: "right" }}
      toggle={(reference) => (
        <MenuToggle ref={reference} onClick={() => setOpen(!open)} isExpanded={open} variant="plainText">
          {plain(me.name)}
        </MenuToggle>
      )}
    >
      <DropdownGroup label={`Role: ${me.role}`}>
        <DropdownList>
          <DropdownItem onClick={() => navigate("/account")}>My account</DropdownItem>
          <DropdownItem onClick={() => void logOut()}>Log out</DropdownItem>
        </DropdownList>
      </DropdownGroup>
      <DropdownGroup label="Colours">
        <DropdownList>
          {THEMES.map(([choice, title]) => (
            <DropdownItem
              key={choice}
              isSelected={theme === choice}
              onClick={() => {
                choose(choice);
                setTheme(choice);
              }}
            >
              {title}
            </DropdownItem>
          ))}
        </DropdownList>
      </DropdownGroup>
    </Dropdown>
  );
}
