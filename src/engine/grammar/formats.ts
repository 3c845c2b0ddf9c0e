// What the values of known formats look like. Any other format is an annotation, as JSON Schema says.

const OCTET = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const IPV4 = `${OCTET}(\\.${OCTET}){3}`;
const H16 = '[0-9A-Fa-f]{1,4}';
const LABEL = '[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const HOST = `${LABEL}(\\.${LABEL}){0,8}`;
const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
const UNRESERVED = "A-Za-z0-9._~!$&'()*+,;=:@-";
const PCHAR = `([${UNRESERVED}]|%[0-9A-Fa-f]{2})`;
const HIER = `(//([${UNRESERVED}]|%[0-9A-Fa-f]{2})*)?(/?${PCHAR}+)?(/${PCHAR}*)*`;
const TAIL = `(\\?(${PCHAR}|[/?])*)?(#(${PCHAR}|[/?])*)?`;
/** The last day of February only in leap years. */
const DATE =
  '(\\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))|' +
  '(\\d\\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)';
const TIME = '([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)';
const DURATION_DAY = '\\d+D|\\d+M(\\d+D)?|\\d+Y(\\d+M(\\d+D)?)?';
const DURATION_TIME = 'T(\\d+H(\\d+M(\\d+S)?)?|\\d+M(\\d+S)?|\\d+S)';

/** Regular expressions of whole values. */
export const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  'date-time': `${DATE}T${TIME}`,
  duration: `P((${DURATION_DAY})(${DURATION_TIME})?|${DURATION_TIME}|\\d+W)`,
  email: `${ATOM}(\\.${ATOM})*@${HOST}`,
  hostname: HOST,
  ipv4: IPV4,
  ipv6:
    `((${H16}:){7}${H16}|(${H16}:){1,7}:|` +
    Array.from({ length: 6 }, (_, i) => `(${H16}:){1,${6 - i}}(:${H16}){1,${i + 1}}`).join('|') +
    `|:(:${H16}){1,7}|::)`,
  uuid: '[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}',
  uri: `[A-Za-z][A-Za-z0-9+.-]*:${HIER}${TAIL}`,
  'uri-reference': `([A-Za-z][A-Za-z0-9+.-]*:${HIER}|(/${PCHAR}*)*|[${UNRESERVED.replace(':', '')}]+(/${PCHAR}*)*)${TAIL}`,
  'json-pointer': '(/([^~/]|~[01])*)*',
};
